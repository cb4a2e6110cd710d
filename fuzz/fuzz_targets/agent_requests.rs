//! What agents send: an envelope of either SOAP, then the message of whichever operation it names.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::wire::client_update::{Request, Service};
use tailwater::wire::soap;
use tailwater::wire::xml::Limits;

fuzz_target!(|data: &[u8]| {
    let _ = soap::glimpse(data);
    for service in [Service::Client, Service::SimpleAuth, Service::Reporting] {
        if let Ok(mut message) = soap::open(data, Limits::REQUEST) {
            let _ = Request::decode(service, &message.operation, &mut message.decoder);
        }
    }
});
