//! What downstream servers send: synchronisation and roll-ups.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::domain::ServerId;
use tailwater::wire::server_reporting::{Report, RollupConfiguration};
use tailwater::wire::server_sync::served;
use tailwater::wire::soap;
use tailwater::wire::xml::{Decoder, Limits};

fn each(data: &[u8], read: impl FnOnce(&mut Decoder<&[u8]>)) {
    if let Ok(mut message) = soap::open(data, Limits::REQUEST) {
        read(&mut message.decoder);
    }
}

fuzz_target!(|data: &[u8]| {
    each(data, |it| drop(served::authorization_request(it)));
    each(data, |it| drop(served::cookie_request(it)));
    each(data, |it| drop(served::config_request(it)));
    each(data, |it| drop(served::revision_ids_request(it)));
    each(data, |it| drop(served::driver_ids_request(it)));
    each(data, |it| drop(served::driver_sets_request(it)));
    each(data, |it| drop(served::related_revisions_request(it)));
    each(data, |it| drop(served::update_data_request(it)));
    each(data, |it| drop(served::deployments_request(it)));
    each(data, |it| drop(served::download_request(it)));
    let limits = RollupConfiguration::usual(ServerId(Default::default()), Default::default());
    if let Ok(mut message) = soap::open(data, Limits::ROLLUP) {
        let _ = Report::decode(&message.operation, &mut message.decoder, &limits);
    }
});
