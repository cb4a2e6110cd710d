//! Black-box tests: one file a promise.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on ends")]

#[path = "../office/mod.rs"]
mod office;

mod admin_needs_the_token;
mod agent_cookies_are_sealed;
mod agent_requests_are_validated;
mod agents;
mod bad_links_are_outlasted;
mod bad_upstreams_do_no_harm;
mod budgets_hold;
mod bundles_are_offered_whole;
mod changes_wake_the_chain;
mod children_take_turns;
mod commands_with_and_without_a_server;
mod decisions_travel_down;
mod downstream;
mod downstream_documents_arrive_whole;
mod downstream_lists_follow_the_filter;
mod downstream_requests_are_validated;
mod faults_speak_the_senders_soap;
mod fragments_equal_captures;
mod head_offices_see_every_computer;
mod held_pieces_survive;
mod hop;
mod huge_fragments_are_streamed;
mod known_waits_are_told;
mod link;
mod link_rate;
mod listeners_listen;
mod lying_downstreams_gain_nothing;
mod misses_are_fetched_once;
mod odd_answers_are_repeated;
mod only_what_is_needed_crosses;
mod paths_mean_what_iis_takes;
mod payloads_follow_http;
mod pieces_are_checked;
mod ranges_cost_what_they_name;
mod recorded_scans_get_recorded_answers;
mod recorded_upstreams_answer_alike;
mod refused_servers_are_told_and_logged;
mod replica;
mod rollups_stay_small;
mod server;
mod starts_without_upstream;
mod support;
mod sync_fetches_only_what_changed;
mod sync_says_what_is_missing;
mod sync_shows_no_half_world;
mod tailwaters_speak_shorter;
mod the_digest_decides;
mod the_store_keeps_its_limits;
mod the_two_ends_meet;
mod transfers_obey;
mod troubles_come_first;
mod updates_arrive_in_stages;
