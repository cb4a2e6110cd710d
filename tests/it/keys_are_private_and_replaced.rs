//! What lets somebody in, or seals a cookie, is read by nobody but the user that runs the server, in a folder that
//! existed before as well; keys are replaced without a computer noticing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::restored_copies_are_known::{handshake, scan};
use crate::server::{Server, said};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file and folder below one, with what others may do with it.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if mode(&path) & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), mode(&path)));
        }
        if path.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

#[test]
fn a_folder_that_existed_before_is_closed_and_what_is_made_in_it_is_private() {
    let mut server = Server::configured("");
    std::fs::create_dir(server.data()).unwrap();
    std::fs::set_permissions(server.data(), std::fs::Permissions::from_mode(0o777)).unwrap();
    server.start();
    assert_eq!(mode(&server.data()), 0o700, "{}", server.log());
    assert_eq!(mode(&server.data().join("admin-token")), 0o600);
    assert_eq!(open_to_others(&server.data()), Vec::<String>::new());
    let keys = std::fs::read_dir(server.data().join("keys")).unwrap().count();
    assert!(keys >= 3, "{keys}");
    // somebody opened them since
    assert!(server.stop());
    for name in ["admin-token", "keys/client-000001.key"] {
        std::fs::set_permissions(server.data().join(name), std::fs::Permissions::from_mode(0o664)).unwrap();
    }
    std::fs::set_permissions(server.data().join("keys"), std::fs::Permissions::from_mode(0o755)).unwrap();
    server.start();
    assert_eq!(open_to_others(&server.data()), Vec::<String>::new(), "{}", server.log());
    assert!(server.log().contains("readable by others"), "{}", server.log());
}

#[test]
fn computers_do_not_notice_that_keys_are_replaced() {
    let mut server = Server::started("");
    let mut early = handshake(&server, "early", "").unwrap();
    scan(&server, &mut early).unwrap();
    for round in 0..2 {
        let rotated = server.run(&["store", "rotate-keys", "--json"]);
        assert!(rotated.status.success(), "{}", said(&rotated));
        let document: serde_json::Value = serde_json::from_slice(&rotated.stdout).unwrap();
        assert_eq!(document["rotated"], 2, "agents and downstream servers: {document}");
        assert!(!document.to_string().contains("secret"));
        assert_eq!(scan(&server, &mut early.clone()), Ok(()), "{round}");
        // and its cookie of before is understood when it asks for a new one
        let old = format!("<oldCookie>{}</oldCookie>", early.cookie);
        assert!(handshake(&server, "early", &old).is_ok(), "{round}");
        server.kill();
        server.start();
        assert_eq!(scan(&server, &mut early.clone()), Ok(()), "{round}, after a kill");
    }
    let keys = server.api("GET", "/store", None).json();
    let clients: Vec<_> =
        keys["keys"].as_array().unwrap().iter().filter(|key| key["purpose"] == "client").collect();
    assert_eq!(clients.len(), 3, "{keys}");
    assert_eq!(clients.iter().filter(|key| key["seals"] == true).count(), 1, "{keys}");
}
