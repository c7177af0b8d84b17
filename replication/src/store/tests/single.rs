//! One node, one replica a range.

use super::*;

const TABLES: RangeId = RangeId(3);

#[tokio::test(start_paused = true)]
async fn a_new_cluster_serves_at_once() {
    let mut world = World::new(1);
    let (node, took) = world.await_lease(TABLES, None).await;
    assert_eq!(node, NodeId(1));
    assert!(took < 50 * MS, "{took:?}");
    let applied = world.put("\x10a", "1").await;
    assert!(applied.fresh);
    assert_eq!(world.get(1, "\x10a").as_deref(), Some("1"));
    assert_eq!(world.store(1).replica_for_key(b"\x01x").unwrap().range_id(), RangeId(1));
    assert_eq!(world.store(1).replica_for_key(b"\x02").unwrap().range_id(), RangeId(2));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_applied_once() {
    let mut world = World::new(2);
    world.await_lease(TABLES, None).await;
    let replica = world.store(1).replica(TABLES).unwrap();
    let command = world.command("\x10a", "1");
    let mut other = world.command("\x10a", "2");
    other.request = command.request;
    let lease = replica.lease().unwrap();
    let (first, second) = (replica.propose(&lease, command.clone()), replica.propose(&lease, other.clone()));
    assert!(first.await.unwrap().fresh);
    assert!(!second.await.unwrap().fresh);
    assert_eq!(world.get(1, "\x10a").as_deref(), Some("1"));
    // After a crash as well.
    world.crash(NodeId(1));
    world.start(NodeId(1));
    world.await_lease(TABLES, None).await;
    let replica = world.store(1).replica(TABLES).unwrap();
    let again = replica.propose(&replica.lease().unwrap(), other);
    assert!(!again.await.unwrap().fresh);
    assert_eq!(world.get(1, "\x10a").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_crashes() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let mut written = 0;
        for _ in 0..5 {
            world.await_lease(TABLES, None).await;
            for _ in 0..world.rng.random_range(1..40) {
                world.put(&format!("\x10key{written:04}"), &written.to_string()).await;
                written += 1;
            }
            let pause = MS * world.rng.random_range(0..700);
            world.run(pause).await;
            world.crash(NodeId(1));
            world.start(NodeId(1));
            // The lease starts after everything that was acknowledged is applied again.
            world.await_lease(TABLES, None).await;
            for i in 0..written {
                assert_eq!(world.get(1, &format!("\x10key{i:04}")), Some(i.to_string()), "seed {seed}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_and_recovers() {
    let mut world = World::new(3);
    world.await_lease(TABLES, None).await;
    world.put("\x10a", "1").await;
    world.nodes[&NodeId(1)].engine.set_capacity(Some(0));
    let replica = world.store(1).replica(TABLES).unwrap();
    // Admitted before it enters the log, or not at all: nothing waits for space.
    let late = world.command("\x10b", "2");
    let refused = replica.propose(&replica.lease().unwrap(), late).await;
    assert!(matches!(refused, Err(ProposeError::Storage(meridian_storage::StorageError::DiskFull(_)))), "{refused:?}");
    assert_eq!(world.get(1, "\x10a").as_deref(), Some("1"));
    world.nodes[&NodeId(1)].engine.set_capacity(None);
    world.put("\x10c", "3").await;
    world.put("\x10d", "4").await;
    assert_eq!(world.get(1, "\x10b"), None);
}

#[tokio::test(start_paused = true)]
async fn ranges_split() {
    let mut world = World::new(4);
    world.await_lease(TABLES, None).await;
    for i in 0..10 {
        world.put(&format!("\x10{i}"), "x").await;
    }
    let replica = world.store(1).replica(TABLES).unwrap();
    world.until_done(replica.split(Bytes::from_static(b"\x105"))).await.unwrap();
    world.until_done(replica.split(Bytes::from_static(b"\x105"))).await.unwrap_err();
    let right = world.store(1).replica_for_key(b"\x107").unwrap();
    assert_ne!(right.range_id(), TABLES);
    assert_eq!(world.store(1).replica_for_key(b"\x103").unwrap().range_id(), TABLES);
    world.until_done(right.split(Bytes::from_static(b"\x105"))).await.unwrap();
    let (_, took) = world.await_lease(right.range_id(), None).await;
    assert!(took < 20 * MS, "{took:?}");
    // The locks came along.
    assert_eq!(world.watch.handovers.lock().len(), 1);
    world.put("\x107", "y").await;
    world.put("\x103", "z").await;
    world.crash(NodeId(1));
    world.start(NodeId(1));
    world.await_lease(right.range_id(), None).await;
    assert_eq!(world.get(1, "\x107").as_deref(), Some("y"));
    assert_eq!(world.get(1, "\x103").as_deref(), Some("z"));
    world.put("\x107", "w").await;
}

/// Evaluated before the split, logged after it: it would write into the other half behind that range's back.
#[tokio::test(start_paused = true)]
async fn a_command_of_before_a_split_does_not_apply_after_it() {
    let mut world = World::new(6);
    world.await_lease(TABLES, None).await;
    let replica = world.store(1).replica(TABLES).unwrap();
    let stale = replica.lease().unwrap();
    let (before, after) = (world.command("\x10a", "before"), world.command("\x107", "after"));
    // In the queue before the split: it is in the log before it, too, and applies.
    let early = replica.propose(&stale, before);
    let split = replica.split(Bytes::from_static(b"\x105"));
    let (early, split) = world.until_done(futures::future::join(early, split)).await;
    early.unwrap();
    split.unwrap();
    let late = world.until_done(replica.propose(&stale, after.clone())).await;
    assert!(matches!(late, Err(ProposeError::NotLeaseholder(_))), "{late:?}");
    assert_eq!((world.get(1, "\x10a").as_deref(), world.get(1, "\x107")), (Some("before"), None));
    // Under the lease as it is now the same request applies: nothing of the refused one was remembered.
    let right = world.store(1).replica_for_key(b"\x107").unwrap();
    world.await_lease(right.range_id(), None).await;
    let lease = right.lease().unwrap();
    assert!(lease.span_epoch > stale.span_epoch);
    assert!(world.until_done(right.propose(&lease, after)).await.unwrap().fresh);
    assert_eq!(world.get(1, "\x107").as_deref(), Some("after"));
}

#[tokio::test(start_paused = true)]
async fn the_log_is_cut_below_what_is_flushed() {
    let mut world = World::new(5);
    world.await_lease(TABLES, None).await;
    for i in 0..200 {
        world.put(&format!("\x10{i}"), "x").await;
    }
    world.run(Duration::from_secs(2)).await;
    let (lower, upper) = super::super::layout::all_entries(TABLES, ReplicaId(1));
    let engine = world.nodes[&NodeId(1)].engine.clone();
    let mut cursor = meridian_storage::Reader::cursor(&*engine, meridian_storage::Space::Log, &lower, &upper).unwrap();
    cursor.seek_to_first();
    assert!(!cursor.valid(), "entries remain");
    drop(cursor);
    world.crash(NodeId(1));
    world.start(NodeId(1));
    world.await_lease(TABLES, None).await;
    assert_eq!(world.get(1, "\x10199").as_deref(), Some("x"));
}
