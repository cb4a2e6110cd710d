//! Promises of the configuration.

use super::*;
use std::time::Duration;

use tailwater_bandwidth::Counted;
use tailwater_domain::{ByteCount, Class, Rate};
use tailwater_upstream::SourceKind;

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    load(Some(&path), environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    read(text, environment).unwrap_err().to_string()
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let loaded = read("", &[]).unwrap();
    assert_eq!(loaded.settings.server.listen.to_string(), "0.0.0.0:8530");
    assert_eq!(loaded.settings.bandwidth.rate, Rate::Unlimited);
    assert_eq!(loaded.settings.upstream.schedule.times.len(), 1);
}

#[test]
fn the_shipped_file_names_every_key_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/tailwater.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut of_file = source::Values::new();
    let mut mistakes = Vec::new();
    source::read_text(&path, &text, &mut of_file, &mut mistakes).unwrap();
    assert!(mistakes.is_empty(), "{mistakes:?}");
    for key in keys::all() {
        let (table, name) = key.path.rsplit_once('.').unwrap();
        if key.default.is_some() {
            let default = &source::defaults().unwrap()[key.path].0;
            assert_eq!(of_file.get(key.path).map(|(raw, _)| raw), Some(default), "{}", key.path);
        } else {
            assert!(!of_file.contains_key(key.path), "{} is unset by default", key.path);
            let section = text.split(&format!("\n[{table}]\n")).nth(1).unwrap_or_default();
            assert!(section.contains(&format!("# {name} = ")), "{} is not explained", key.path);
        }
    }
}

#[test]
fn the_examples_can_be_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        load(Some(&entry.unwrap().path()), []).unwrap();
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
    let error = refusal("[server]\nlisten = \"0.0.0.0:1\"\nlisen = \"x\"\n", &[]);
    assert!(error.contains("line 3"), "{error}");
    assert!(error.contains("\"server.lisen\""), "{error}");
    assert!(error.contains("did you mean \"server.listen\"?"), "{error}");
    let error = refusal("[bandwith]\nrate = \"8 Mbit/s\"\n", &[]);
    assert!(error.contains("line 2") && error.contains("bandwidth.rate"), "{error}");
    let error = refusal("", &[("TAILWATER_SERVER__LISTN", "x")]);
    assert!(error.contains("TAILWATER_SERVER__LISTN") && error.contains("server.listen"), "{error}");
}

#[test]
fn a_budget_is_checked() {
    let text = "[bandwidth]\ntime_zone = \"Europe/Berlin\"\n[bandwidth.budget]\nmonthly = \"150 GB\"\nreserve = \"12.5 %\"\n\
                urgent = [\"interactive\"]\nwhen_spent = \"urgent\"\n";
    let budget = read(text, &[]).unwrap().settings.bandwidth.budget.unwrap();
    assert_eq!((budget.daily, budget.monthly, budget.reserve), (None, Some(ByteCount(150_000_000_000)), 125));
    assert_eq!((budget.urgent, budget.zone.iana_name()), (vec![Class::Interactive], Some("Europe/Berlin")));
    assert!(read("", &[]).unwrap().settings.bandwidth.budget.is_none());
    let table = [
        ("daily = \"10 kB\"", "at least"),
        ("daily = \"soon\"", "512 MiB"),
        ("daily = \"10 GB\"\nmonthly = \"5 GB\"", "cannot exceed"),
        ("daily = \"10 GB\"\nurgent = [\"all\"]", "\"interactive\", \"metadata\""),
        ("daily = \"10 GB\"\nreserve = \"1 GB\"", "0 %"),
        ("daily = \"10 GB\"\nwhen_spent = \"never\"", "closed"),
    ];
    for (text, expected) in table {
        let error = refusal(&format!("[bandwidth.budget]\n{text}"), &[]);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn what_yields_and_what_does_not_is_said_with_the_words_of_classes() {
    let counted = |text: &str| read(text, &[]).unwrap().settings.bandwidth.count;
    assert_eq!(counted(""), Counted::Payload);
    assert_eq!(counted("[bandwidth]\ncount = \"packets\"\n"), Counted::Packets);
    assert!(refusal("[bandwidth]\ncount = \"frames\"\n", &[]).contains("\"payload\", \"packets\""));
    let adaptive =
        |text: &str| read(&format!("[bandwidth]\n{text}\n"), &[]).unwrap().settings.bandwidth.adaptive;
    assert_eq!(adaptive(""), None);
    assert_eq!(adaptive("adaptive = true"), Some(vec![Class::Interactive]));
    let exempt = adaptive("adaptive = true\nadaptive_exempt = [\"interactive\", \"metadata\"]");
    assert_eq!(exempt, Some(vec![Class::Interactive, Class::Metadata]));
    assert!(refusal("[bandwidth]\nadaptive = \"yes\"\n", &[]).contains("true or false"));
    let error = refusal("[bandwidth]\nadaptive_exempt = [\"agents\"]\n", &[]);
    assert!(error.contains("\"interactive\""), "{error}");
}

#[test]
fn payloads_have_other_sources_at_their_cost() {
    let text = "[upstream]\ncost = 7\n[[upstream.source]]\nurl = \"http://near:8530/\"\ncost = 1\n\
                [[upstream.source]]\nurl = \"microsoft\"\ncost = 50\n";
    let upstream = read(text, &[]).unwrap().settings.upstream;
    assert_eq!(upstream.cost, 7);
    let sources: Vec<_> = upstream.sources.iter().map(|source| (source.kind.clone(), source.cost)).collect();
    let near = SourceKind::Server("http://near:8530".to_owned());
    assert_eq!(sources, [(near, 1), (SourceKind::Microsoft, 50)]);
    let one = "[{ url = \"http://near\", cost = 3 }]";
    assert_eq!(read("", &[("TAILWATER_UPSTREAM__SOURCE", one)]).unwrap().settings.upstream.sources.len(), 1);
    let table = [
        ("uri = \"http://near\"", "upstream.source.url"),
        ("url = \"near:8530\"\ncost = 1", "http://server:8530"),
        ("url = \"http://user:secret@near\"\ncost = 1", "http://server:8530"),
        ("cost = 1", "needs url"),
        ("url = \"http://near\"", "needs cost"),
        ("url = \"http://near\"\ncost = 1001", "0 to 1000"),
        ("url = \"http://near\"\ncost = \"1\"", "[[upstream.source]]"),
    ];
    for (text, wanted) in table {
        let error = refusal(&format!("[[upstream.source]]\n{text}\n"), &[]);
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn a_calendar_has_windows() {
    let text = "[bandwidth]\ntime_zone = \"Europe/Berlin\"\n\n[[bandwidth.window]]\ndays = [\"mon-fri\"]\nfrom = \"08:00\"\n\
                to = \"18:00\"\nrate = \"1 Mbit/s\"\n[[bandwidth.window]]\nfrom = \"22:00\"\nto = \"24:00\"\nrate = \"closed\"\n";
    let loaded = read(text, &[]).unwrap();
    assert_eq!(loaded.settings.bandwidth.windows.len(), 2);
    assert_eq!(loaded.settings.bandwidth.windows[1].rate, Rate::Closed);
    let shown = loaded.shown().into_iter().find(|shown| shown.key == "bandwidth.window").unwrap();
    assert!(shown.value.unwrap().to_string().contains("rate 1 Mbit/s"));
    let one = "[{ from = \"1:00\", to = \"2:00\", rate = \"2 MB/s\" }]";
    assert_eq!(
        read("", &[("TAILWATER_BANDWIDTH__WINDOW", one)]).unwrap().settings.bandwidth.windows.len(),
        1
    );
    let table = [
        ("form = \"08:00\"", "bandwidth.window.from"),
        ("from = \"08:00\"\nto = \"25:00\"\nrate = \"closed\"", "08:00"),
        ("from = \"08:00\"\nrate = \"closed\"", "needs to"),
        ("from = \"08:00\"\nto = \"09:00\"\nrate = \"fast\"", "8 Mbit/s"),
        ("days = [\"funday\"]\nfrom = \"08:00\"\nto = \"09:00\"\nrate = \"closed\"", "mon-fri"),
        ("from = \"08:00\"\nto = \"09:00\"\nrate = \"closed\"\ntime_zone = \"Mars\"", "Europe/Berlin"),
        ("from = 8", "[[bandwidth.window]]"),
    ];
    for (text, wanted) in table {
        let error = refusal(&format!("[[bandwidth.window]]\n{text}\n"), &[]);
        assert!(error.contains(wanted), "{text}: {error}");
    }
}

#[test]
fn values_are_checked_with_what_is_expected_instead() {
    let table = [
        ("[server]\nlisten = \"here\"", "server.listen"),
        ("[server]\nlisten = 8530", "quotation marks"),
        ("[bandwidth]\nrate = \"fast\"", "8 Mbit/s"),
        ("[content]\nmax_size = \"much\"", "200 GB"),
        ("[content]\nfetch = \"some\"", "\"demand\", \"approved\""),
        ("[upstream]\nurl = \"ftp://x\"", "http://server:8530"),
        ("[upstream]\nmode = \"replica\"", "Microsoft Update decides nothing"),
        ("[bandwidth.downstream]\nrate = \"closed\"", "stop the server"),
        ("[bandwidth.downstream]\nper_client = \"4\"", "8 Mbit/s"),
        ("[upstream]\nmode = \"copy\"", "\"autonomous\", \"replica\""),
        ("[upstream]\nschedule = [\"25:00\"]", "03:00"),
        ("[upstream]\nschedule = [\"03:00\"]\nevery = \"4h\"", "exclude each other"),
        ("[upstream]\nevery = \"1s\"", "at least"),
        ("[upstream]\nlanguages = []", "at least one language"),
        ("[upstream]\nca_file = \"/no/such/file\"", "cannot be opened"),
        ("[server.tls]\nlisten = \"0.0.0.0:8531\"", "together"),
        ("[upstream]\nhold_removals_above = \"half\"", "100 %"),
        ("[log]\nfilter = \"tailwater=loud\"", "log.filter"),
        ("[server\n", "line 1"),
    ];
    for (text, part) in table {
        let error = refusal(text, &[]);
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn the_environment_wins_and_every_value_remembers_its_origin() {
    let loaded = read(
        "[server]\ndata_dir = \"d\"\nlisten = \"127.0.0.1:1\"\n[upstream]\nevery = \"4h\"",
        &[("TAILWATER_SERVER__LISTEN", "127.0.0.1:2"), ("TAILWATER_UPSTREAM__PRODUCTS", "a, b")],
    )
    .unwrap();
    assert_eq!(loaded.settings.server.listen.port(), 2);
    assert_eq!(loaded.settings.upstream.products, ["a", "b"]);
    assert_eq!(loaded.settings.upstream.schedule.every, Some(Duration::from_hours(4)));
    assert!(loaded.settings.upstream.schedule.times.is_empty());
    assert!(loaded.settings.server.data_dir.is_absolute(), "relative to the file");
    let origin = |key: &str| loaded.shown().into_iter().find(|shown| shown.key == key).unwrap().origin;
    assert!(matches!(origin("server.listen"), Origin::Environment { .. }));
    assert!(matches!(origin("server.data_dir"), Origin::File { line: 2, .. }));
    assert_eq!(origin("content.fetch"), Origin::Default);
}

#[test]
fn credentials_are_not_shown() {
    let loaded = read("[upstream]\nproxy = \"http://user:word@proxy:3128\"", &[]).unwrap();
    let shown = serde_json::to_string(&loaded.shown()).unwrap();
    assert!(!shown.contains("word"), "{shown}");
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = "[server]\nlisten = \"nowhere\"\nlisen = \"x\"\n[upstream]\nurl = \"ftp://x\"\nlanguages = []\n\
                schedule = [\"late\"]\nmode = \"boss\"\n[content]\nmax_size = \"1 kB\"\nfetch = 3\n[content.quiet]\nfrom = \"22:00\"\n\
                [bandwidth]\nrate = \"fast\"\ntime_zone = \"Nowhere/City\"\n[log]\nfilter = \"tailwater=loud\"\n";
    let environment = [("TAILWATER_ADMIN__LISTEN", "x"), ("TAILWATER_DOWNSTREAM__TRANSFERS", "many")];
    let error = read(text, &environment).unwrap_err();
    let told = error.to_string();
    let keys = [
        "server.listen",
        "server.lisen",
        "upstream.url",
        "upstream.languages",
        "upstream.schedule",
        "upstream.mode",
        "content.max_size",
        "content.fetch",
        "content.quiet",
        "bandwidth.rate",
        "bandwidth.time_zone",
        "log.filter",
        "admin.listen",
        "downstream.transfers",
    ];
    for key in keys {
        assert!(told.contains(key), "{key} is not in {told}");
    }
    assert_eq!(error.each().len(), keys.len(), "each once: {told}");
    // one mistake is told as before
    assert!(!refusal("[bandwidth]\nrate = \"fast\"\n", &[]).contains("mistakes"));
}

#[test]
fn what_works_against_something_else_is_doubted() {
    let doubts = |text: &str| -> Vec<&'static str> {
        read(text, &[]).unwrap().doubts().into_iter().map(|doubt| doubt.key).collect()
    };
    let quiet = "[upstream]\nurl = \"http://head.example:8530\"\n";
    assert_eq!(doubts(quiet), [""; 0]);
    let table: [(&str, &[&str]); 9] = [
        ("", &["upstream.products"]),
        (
            "[upstream]\nurl = \"http://head.example:8530\"\nmode = \"replica\"\nproducts = [\"Windows 11\"]\n",
            &["upstream.products"],
        ),
        ("[upstream]\nurl = \"http://localhost:8530\"\n", &["upstream.url"]),
        ("[upstream]\nurl = \"http://head.example\"\ntoken = \"abc\"\n", &["upstream.token"]),
        (
            "[upstream]\nurl = \"http://head.example\"\nlanguages = [\"de\", \"pt-rb\"]\n",
            &["upstream.languages"],
        ),
        (
            "[upstream]\nurl = \"http://head.example\"\n[content.quiet]\nfrom = \"22:00\"\nto = \"06:00\"\n",
            &["content.quiet"],
        ),
        ("[upstream]\nurl = \"http://head.example\"\n[bandwidth]\nrate = \"closed\"\n", &["bandwidth.rate"]),
        (
            "[upstream]\nurl = \"http://head.example\"\n[bandwidth.budget]\nreserve = \"20 %\"\n",
            &["bandwidth.budget.reserve"],
        ),
        (
            "[server]\npublic_url = \"http://localhost:8530\"\n[upstream]\nurl = \"http://head.example\"\n",
            &["server.public_url"],
        ),
    ];
    for (text, wanted) in table {
        assert_eq!(doubts(text), wanted, "{text}");
    }
    let near = read("[upstream]\nurl = \"http://h\"\nlanguages = [\"pt-rb\"]\n", &[]).unwrap().doubts();
    assert!(near[0].text.contains("pt-br"), "{near:?}");
}

#[test]
fn what_differs_is_told_with_whether_it_needs_a_restart() {
    let before = read("[bandwidth]\nrate = \"8 Mbit/s\"\n", &[]).unwrap();
    let text = "[bandwidth]\nrate = \"2 Mbit/s\"\n[server]\nlisten = \"0.0.0.0:1\"\n[upstream]\nproducts = [\"Windows 11\"]\n\
                token = \"secret-word\"\n";
    let after = read(text, &[]).unwrap();
    let told: Vec<(&str, bool)> = before.differences(&after).iter().map(|one| (one.key, one.live)).collect();
    assert_eq!(
        told,
        [
            ("server.listen", false),
            ("upstream.products", true),
            ("upstream.token", false),
            ("bandwidth.rate", true)
        ]
    );
    assert!(!format!("{:?}", before.differences(&after)).contains("secret-word"));
    let merged = before.with_live(&after).unwrap();
    assert_eq!(merged.settings.bandwidth.rate, "2 Mbit/s".parse().unwrap());
    assert_eq!(merged.settings.server.listen.port(), 8530);
    // what is left to do is named again by the next reload
    let left: Vec<&str> = merged.differences(&after).iter().map(|one| one.key).collect();
    assert_eq!(left, ["server.listen", "upstream.token"]);
    assert!(merged.differences(&after).iter().all(|one| !one.live));
}

#[test]
fn every_live_key_is_taken_over() {
    let text = "[upstream]\nproducts = [\"A\"]\nclassifications = [\"B\"]\nschedule = []\nevery = \"4h\"\njitter = \"1m\"\n\
                [content]\nmax_size = \"1 GB\"\nmin_free = \"1 GB\"\n[bandwidth]\n\
                rate = \"1 Mbit/s\"\n[[bandwidth.window]]\nfrom = \"08:00\"\nto = \"18:00\"\nrate = \"closed\"\n[log]\nfilter = \"debug\"\n";
    let (before, after) = (read("", &[]).unwrap(), read(text, &[]).unwrap());
    let differing: Vec<&str> = before.differences(&after).iter().map(|one| one.key).collect();
    for key in keys::all().filter(|key| key.is_live) {
        assert!(differing.contains(&key.path), "{} is not set here", key.path);
    }
    let merged = before.with_live(&after).unwrap();
    assert!(merged.differences(&after).is_empty());
    assert_eq!(format!("{:?}", merged.settings.upstream), format!("{:?}", after.settings.upstream));
    assert_eq!(
        format!("{:?}", merged.settings.bandwidth.windows),
        format!("{:?}", after.settings.bandwidth.windows)
    );
    assert_eq!(merged.settings.log, after.settings.log);
    assert_eq!(merged.settings.content.max_size, after.settings.content.max_size);
}

#[test]
fn the_log_knows_every_part_of_this_program() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rooms: Vec<String> = std::fs::read_dir(crates)
        .unwrap()
        .map(|room| room.unwrap().file_name().into_string().unwrap())
        .filter(|room| room != "domain")
        .collect();
    assert!(rooms.len() > 10, "{rooms:?}");
    for room in rooms {
        for target in [format!("tailwater_{room}"), format!("tailwater::{room}::inner")] {
            let text = format!("[upstream]\nurl = \"http://h\"\n[log]\nfilter = \"{target}=debug\"\n");
            assert_eq!(read(&text, &[]).unwrap().doubts(), [], "{target}");
        }
    }
}
