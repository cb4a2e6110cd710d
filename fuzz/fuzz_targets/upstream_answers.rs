//! What an upstream answers, of every operation.
#![no_main]
use libfuzzer_sys::fuzz_target;
use tailwater::wire::{server_reporting as reporting, server_sync as sync};

fuzz_target!(|data: &[u8]| {
    let _ = sync::read_auth_config(data);
    let _ = sync::read_authorization_cookie(data);
    let _ = sync::read_cookie(data).map(|cookie| cookie.expires_at());
    let _ = sync::read_config_data(data);
    let _ = sync::read_revision_ids(data);
    let _ = sync::read_deployments(data);
    let _ = sync::read_update_decryption_data(data);
    let _ = sync::read_update_data(data, |document| std::io::copy(document, &mut std::io::sink()).ok());
    let _ = reporting::read_configuration(data);
    let _ = reporting::read_servers_answer(data);
    let _ = reporting::read_computers_answer(data);
    let _ = reporting::read_out_of_sync(data);
    let _ = reporting::read_status_answer(data);
});
