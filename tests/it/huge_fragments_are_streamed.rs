//! A Core fragment of many megabytes reaches the agent whole, compressed or not.

use tailwater::serve::client::Config;
use tailwater::wire::client_update::Service;
use tailwater::wire::soap;

use crate::agents::{Agent, Document, Server};

#[tokio::test]
async fn a_fragment_of_twelve_megabytes_arrives_in_every_coding() {
    let rules = "<upd:IsInstalled><lar:And>".to_owned()
        + &"<lar:True/>".repeat(600_000)
        + "</lar:And></upd:IsInstalled>";
    let server = Server::configured(
        Config::default(),
        [Document::new(1, "Software").rules(&rules).text(), Document::new(2, "Software").text()],
    );
    let agent = Agent::registered(&server, "a").await;
    let scan = agent.with("<parameters><SkipSoftwareSync>false</SkipSoftwareSync></parameters>");
    let body = soap::request(Service::Client.namespace(), "SyncUpdates", &scan);
    let mut texts = Vec::new();
    for accepts in ["xpress", "identity"] {
        let reply =
            server.send(Service::Client.path(), &[("Accept-Encoding", accepts)], body.clone()).await.ok();
        assert_eq!(reply.headers.contains_key("Content-Encoding"), accepts == "xpress");
        let rounds = reply.text.matches("&lt;True /&gt;").count();
        assert!(rounds == 600_000 || rounds == 600_001, "{rounds}");
        assert!(reply.text.ends_with("</s:Body></s:Envelope>"));
        texts.push(reply.text.split("<NewCookie>").next().unwrap().to_owned());
    }
    assert_eq!(texts[0], texts[1]);
}
