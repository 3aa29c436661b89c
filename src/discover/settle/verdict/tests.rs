//! The table of judgements.

use super::*;
use crate::discover::lease::LeaseUnavailable;
use proptest::prelude::*;

const T: i64 = 1_700_000_000_000;
const NO_LEASE: LeaseState = LeaseState::Unavailable(LeaseUnavailable::NotOwner);

/// A finished name last written at `T`, of which nothing is known.
const UNKNOWN: SettleFacts = SettleFacts {
    is_temporary: false,
    may_be_segment: false,
    has_live_temporary: false,
    seen: None,
    lease: NO_LEASE,
    processes: None,
    server: ServerState::Unknown,
    server_is_named: false,
    writer: WriterState::Unseen,
    last_write_ms: T,
    unchanged_since_ms: T,
};
const FREE: SettleFacts = SettleFacts { lease: LeaseState::Free, ..UNKNOWN };
const ORPHAN: SettleFacts = SettleFacts { is_temporary: true, ..FREE };

const COMPLETE: Option<FileProcesses> = Some(FileProcesses { is_written: false, is_complete: true });
const INCOMPLETE: Option<FileProcesses> = Some(FileProcesses { is_written: false, is_complete: false });

fn at(facts: SettleFacts, after_s: i64, mode: Mode) -> SettleVerdict {
    judge(&facts, &WatchOptions::default(), T + after_s * 1000, mode)
}

fn wait(after_s: i64, reason: WaitReason) -> SettleVerdict {
    SettleVerdict::Wait { until_ms: T + after_s * 1000, reason }
}

#[test]
fn strong_evidence_needs_no_waiting() {
    let closed = SettleFacts { seen: Some(SeenEvent::Closed { at_ms: T + 3 }), ..UNKNOWN };
    assert_eq!(at(closed, 1, Mode::Watch), SettleVerdict::Settled(Evidence::CloseSeen));
    let renamed = SettleFacts { seen: Some(SeenEvent::Renamed { at_ms: T }), ..UNKNOWN };
    assert_eq!(at(renamed, 0, Mode::Watch), SettleVerdict::Settled(Evidence::RenameSeen));
    assert_eq!(at(FREE, 0, Mode::Process), SettleVerdict::Settled(Evidence::Lease));
}

#[test]
fn a_close_that_was_followed_by_a_write_counts_no_more() {
    let stale = SettleFacts { seen: Some(SeenEvent::Closed { at_ms: T - 1 }), ..UNKNOWN };
    assert_eq!(at(stale, 30, Mode::Watch), wait(120, WaitReason::Quiet));
}

#[test]
fn a_writer_outweighs_every_other_evidence() {
    let closed = Some(SeenEvent::Closed { at_ms: T });
    let held = SettleFacts { lease: LeaseState::Held, seen: closed, ..ORPHAN };
    let listed = SettleFacts {
        processes: Some(FileProcesses { is_written: true, is_complete: false }),
        seen: closed,
        ..UNKNOWN
    };
    for facts in [held, listed] {
        for mode in [Mode::Watch, Mode::Process, Mode::Recover] {
            assert_eq!(at(facts, 1_000_000, mode), wait(1_000_005, WaitReason::Writer));
        }
    }
}

#[test]
fn a_complete_look_at_all_processes_is_strong_once_settled() {
    let facts = SettleFacts { processes: COMPLETE, ..UNKNOWN };
    assert_eq!(at(facts, 4, Mode::Watch), wait(5, WaitReason::Settle));
    assert_eq!(at(facts, 5, Mode::Watch), SettleVerdict::Settled(Evidence::ProcScan));
}

#[test]
fn weak_evidence_waits_quiet_always() {
    for mode in [Mode::Watch, Mode::Process, Mode::Recover] {
        for facts in [UNKNOWN, SettleFacts { processes: INCOMPLETE, ..UNKNOWN }] {
            assert_eq!(at(facts, 119, mode), wait(120, WaitReason::Quiet));
            assert_eq!(at(facts, 120, mode), SettleVerdict::Settled(Evidence::Unchanged { for_s: 120 }));
        }
    }
}

#[test]
fn a_writer_under_another_uid_that_pauses_30_s_is_not_taken() {
    let paused = SettleFacts { processes: INCOMPLETE, ..UNKNOWN };
    for mode in [Mode::Watch, Mode::Process, Mode::Recover] {
        assert!(matches!(at(paused, 30, mode), SettleVerdict::Wait { .. }));
        assert!(matches!(at(SettleFacts { is_temporary: true, ..paused }, 30, mode), SettleVerdict::Wait { .. }));
    }
}

#[test]
fn a_temporary_name_is_orphaned_by_its_server_or_by_time() {
    let server = |server| SettleFacts { server, ..ORPHAN };
    let taken = SettleVerdict::Settled(Evidence::Lease);
    assert_eq!(at(server(ServerState::NotRunning), 30, Mode::Watch), taken);
    assert_eq!(at(server(ServerState::Running { since_ms: T + 1 }), 30, Mode::Watch), taken);
    for state in [ServerState::Running { since_ms: T - 1 }, ServerState::Unknown] {
        for mode in [Mode::Watch, Mode::Process] {
            assert_eq!(at(server(state), 0, mode), wait(120, WaitReason::Orphan), "asked again meanwhile");
            assert_eq!(at(server(state), 599, mode), wait(600, WaitReason::Orphan));
            assert_eq!(at(server(state), 600, mode), taken);
        }
        assert_eq!(at(server(state), 0, Mode::Recover), taken);
    }
}

#[test]
fn a_recent_last_write_proves_a_writer_whatever_the_process_list_says() {
    for server in [ServerState::NotRunning, ServerState::Running { since_ms: T + 1 }, ServerState::Unknown] {
        for mode in [Mode::Watch, Mode::Process] {
            let facts = SettleFacts { server, ..ORPHAN };
            for after_s in [0, 1, 29] {
                assert!(
                    matches!(at(facts, after_s, mode), SettleVerdict::Wait { reason: WaitReason::Orphan, .. }),
                    "{facts:?}"
                );
            }
        }
        assert_eq!(at(SettleFacts { server, ..ORPHAN }, 0, Mode::Recover), SettleVerdict::Settled(Evidence::Lease));
    }
    // Copied here with its time: it was written long ago.
    let old = SettleFacts { server: ServerState::NotRunning, last_write_ms: T - 31_000, ..ORPHAN };
    assert_eq!(at(old, 0, Mode::Watch), SettleVerdict::Settled(Evidence::Lease));
}

#[test]
fn a_write_or_close_that_was_seen_waits_for_the_rename_unless_its_process_has_ended() {
    let taken = SettleVerdict::Settled(Evidence::Lease);
    for writer in [WriterState::Seen, WriterState::Lives] {
        let facts = SettleFacts { writer, server: ServerState::NotRunning, ..ORPHAN };
        assert!(matches!(at(facts, 599, Mode::Watch), SettleVerdict::Wait { reason: WaitReason::Orphan, .. }));
        assert_eq!(at(facts, 600, Mode::Watch), taken);
        assert_eq!(at(facts, 0, Mode::Recover), taken);
    }
    let lives = SettleFacts { writer: WriterState::Lives, ..ORPHAN };
    assert_eq!(at(lives, 100, Mode::Watch), wait(105, WaitReason::Orphan), "its end is looked for");
    for server in [ServerState::Unknown, ServerState::Running { since_ms: T - 5000 }] {
        let ended = SettleFacts { writer: WriterState::Ended, server, ..ORPHAN };
        assert_eq!(at(ended, 1, Mode::Watch), wait(30, WaitReason::Orphan), "another process may rename for it");
        assert_eq!(at(ended, 30, Mode::Watch), taken);
    }
}

#[test]
fn a_server_that_the_settings_name_is_believed_when_it_was_seen_to_end_or_to_start_again() {
    let taken = SettleVerdict::Settled(Evidence::Lease);
    let named = SettleFacts { server_is_named: true, writer: WriterState::Seen, ..ORPHAN };
    let again = ServerState::Running { since_ms: T + 1 };
    let ended = ServerState::Ended { last_seen_ms: T - 5000 };
    for server in [again, ended] {
        assert_eq!(at(SettleFacts { server, ..named }, 2, Mode::Watch), taken);
        let guessed = SettleFacts { server, server_is_named: false, ..named };
        assert!(matches!(at(guessed, 2, Mode::Watch), SettleVerdict::Wait { .. }));
    }
    // What is not running and was not seen running, or only long before, may be a server under another name.
    for server in [ServerState::NotRunning, ServerState::Ended { last_seen_ms: T - 31_000 }] {
        assert!(matches!(at(SettleFacts { server, ..named }, 2, Mode::Watch), SettleVerdict::Wait { .. }));
    }
}

#[test]
fn a_close_seen_of_a_temporary_name_is_no_reason_to_take_it_from_its_server() {
    let closed = SettleFacts {
        seen: Some(SeenEvent::Closed { at_ms: T }),
        server: ServerState::Running { since_ms: T - 5000 },
        ..ORPHAN
    };
    assert_eq!(at(closed, 1, Mode::Watch), wait(121, WaitReason::Orphan));
}

#[test]
fn a_weak_orphan_waits_quiet_even_under_recover() {
    let weak = SettleFacts { lease: NO_LEASE, server: ServerState::NotRunning, ..ORPHAN };
    assert_eq!(at(weak, 60, Mode::Recover), wait(120, WaitReason::Quiet));
    assert_eq!(at(weak, 120, Mode::Recover), SettleVerdict::Settled(Evidence::Unchanged { for_s: 120 }));
}

#[test]
fn a_final_name_waits_for_its_live_temporary_to_go() {
    let beside = SettleFacts { has_live_temporary: true, ..FREE };
    assert_eq!(at(beside, 10, Mode::Watch), wait(15, WaitReason::Temporary));
}

#[test]
fn a_transport_stream_waits_until_a_playlist_would_have_named_it() {
    let segment = SettleFacts { may_be_segment: true, seen: Some(SeenEvent::Closed { at_ms: T }), ..FREE };
    assert_eq!(at(segment, 1, Mode::Watch), wait(5, WaitReason::Settle));
    assert_eq!(at(segment, 5, Mode::Watch), SettleVerdict::Settled(Evidence::CloseSeen));
    assert_eq!(at(segment, 1, Mode::Process), SettleVerdict::Settled(Evidence::CloseSeen));
}

fn any_facts() -> impl Strategy<Value = SettleFacts> {
    let lease = prop_oneof![Just(LeaseState::Free), Just(LeaseState::Held), Just(NO_LEASE)];
    let processes = proptest::option::of(
        (any::<bool>(), any::<bool>()).prop_map(|(is_written, is_complete)| FileProcesses { is_written, is_complete }),
    );
    let server = prop_oneof![
        Just(ServerState::Unknown),
        Just(ServerState::NotRunning),
        (-2000..2000_i64).prop_map(|s| ServerState::Ended { last_seen_ms: T + s * 1000 }),
        (-2000..2000_i64).prop_map(|s| ServerState::Running { since_ms: T + s * 1000 }),
    ];
    let seen = proptest::option::of((-2_000_000..2_000_000_i64).prop_map(|ms| SeenEvent::Closed { at_ms: T + ms }));
    let writers = [WriterState::Unseen, WriterState::Seen, WriterState::Lives, WriterState::Ended];
    let writer = (proptest::sample::select(writers.to_vec()), any::<bool>());
    (any::<bool>(), any::<bool>(), seen, lease, processes, server, writer).prop_map(
        |(is_temporary, has_live_temporary, seen, lease, processes, server, (writer, server_is_named))| SettleFacts {
            is_temporary,
            has_live_temporary,
            seen,
            lease,
            processes,
            server,
            server_is_named,
            writer,
            ..UNKNOWN
        },
    )
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Watch), Just(Mode::Process), Just(Mode::Recover)]
}

proptest! {
    #[test]
    fn weak_evidence_is_never_given_before_quiet(facts in any_facts(), after_s in 0..2000_i64, mode in any_mode()) {
        if let SettleVerdict::Settled(evidence) = at(facts, after_s, mode) {
            prop_assert!(facts.lease != LeaseState::Held && !facts.processes.is_some_and(|p| p.is_written));
            prop_assert!(evidence.is_strong() || after_s >= 120);
        }
    }

    #[test]
    fn waiting_always_ends_later_than_now(facts in any_facts(), after_s in 0..2000_i64, mode in any_mode()) {
        if let SettleVerdict::Wait { until_ms, .. } = at(facts, after_s, mode) {
            prop_assert!(until_ms > T + after_s * 1000);
        }
    }

    #[test]
    fn what_is_settled_stays_settled_while_nothing_changes(facts in any_facts(), after_s in 0..2000_i64, mode in any_mode()) {
        if matches!(at(facts, after_s, mode), SettleVerdict::Settled(_)) {
            prop_assert!(matches!(at(facts, after_s + 1, mode), SettleVerdict::Settled(_)));
        }
    }

    #[test]
    fn recover_takes_whatever_a_batch_takes(facts in any_facts(), after_s in 0..2000_i64) {
        if let SettleVerdict::Settled(evidence) = at(facts, after_s, Mode::Process) {
            prop_assert_eq!(at(facts, after_s, Mode::Recover), SettleVerdict::Settled(evidence));
        }
    }
}
