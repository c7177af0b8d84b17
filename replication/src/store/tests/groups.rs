//! Groups of several replicas: elections, promises, snapshots, membership, planned moves.

use super::*;

const TABLES: RangeId = RangeId(3);
const ALL: [u32; 3] = [1, 2, 3];

#[tokio::test(start_paused = true)]
async fn one_replica_becomes_three() {
    let mut world = World::new(10);
    world.await_lease(TABLES, None).await;
    world.put("\x10before", "1").await;
    let mut world = {
        drop(world);
        World::replicated(10, 3).await
    };
    world.put("\x10after", "2").await;
    world.run(Duration::from_secs(1)).await;
    for node in ALL {
        assert_eq!(world.get(node, "\x10after").as_deref(), Some("2"), "{node}");
        let descriptor = world.store(node).replica(TABLES).unwrap().descriptor();
        assert_eq!(descriptor.replicas.len(), 3);
        assert!(descriptor.replicas.iter().all(|r| r.role == ReplicaRole::Voter));
    }
    let report = world.until_done(world.store(1).check_replicas(TABLES)).await.unwrap();
    assert_eq!(report.sums.len(), 3, "{report:?}");
    assert!(report.differing.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_leaseholder_is_replaced_within_a_second() {
    for seed in 0..10 {
        let mut world = World::replicated(seed, 3).await;
        world.put("\x10a", "1").await;
        world.run(Duration::from_secs(3)).await;
        let (holder, _) = world.leaseholder(TABLES).unwrap();
        world.crash(holder);
        let start = tokio::time::Instant::now();
        world.put("\x10b", "2").await;
        let took = start.elapsed();
        assert!(took < Duration::from_millis(1100), "seed {seed}: {took:?}");
        world.start(holder);
        world.run(Duration::from_secs(2)).await;
        assert_eq!(world.get(holder.0, "\x10b").as_deref(), Some("2"));
    }
}

#[tokio::test(start_paused = true)]
async fn idle_ranges_are_quiet() {
    let world = World::replicated(11, 3).await;
    world.run(Duration::from_secs(5)).await;
    let raft = |world: &World| world.network.trace().iter().filter(|line| line.contains("Raft")).count();
    let before = raft(&world);
    assert!(before > 100, "{before} raft messages in the trace");
    world.run(Duration::from_secs(10)).await;
    let after: Vec<String> = world.network.trace().into_iter().filter(|line| line.contains("Raft")).skip(before).collect();
    assert_eq!(after.len(), 0, "{after:?}");
    assert!(world.leaseholder(TABLES).is_some(), "a quiet range keeps its lease");
}

#[tokio::test(start_paused = true)]
async fn a_planned_move_hands_over() {
    let mut world = World::replicated(12, 3).await;
    world.put("\x10a", "1").await;
    let store = world.store(1).clone();
    let start = tokio::time::Instant::now();
    world.until_done(async move { store.transfer_lease(TABLES, NodeId(2)).await }).await.unwrap();
    let (holder, _) = world.await_lease(TABLES, None).await;
    assert_eq!(holder, NodeId(2));
    assert!(start.elapsed() < 100 * MS, "{:?}", start.elapsed());
    let handovers = world.watch.handovers.lock().clone();
    assert_eq!(handovers, vec![(NodeId(2), TABLES, Bytes::from("locks of r3 from n1"))]);
    world.put("\x10a", "2").await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_off_leaseholder_stops_serving_before_another_starts() {
    let mut world = World::replicated(13, 3).await;
    world.put("\x10a", "1").await;
    world.network.isolate(NodeId(1));
    let (holder, took) = world.await_lease(TABLES, Some(NodeId(1))).await;
    assert_ne!(holder, NodeId(1));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(world.store(1).replica(TABLES).unwrap().lease().is_err());
    world.put("\x10a", "2").await;
    world.network.rejoin(NodeId(1));
    world.run(Duration::from_secs(3)).await;
    assert_eq!(world.get(1, "\x10a").as_deref(), Some("2"));
}

/// One host smears a leap second, the others do not, and its source says honestly how far it may be off: everybody goes on.
#[tokio::test(start_paused = true)]
async fn a_leap_second_smeared_honestly_is_waited_out() {
    let mut world = World::replicated(33, 3).await;
    for node in [1, 2, 3, 1] {
        let source = world.nodes[&NodeId(node)].source.clone();
        for step in (0..=50).chain((0..=50).rev()) {
            source.set_skew_nanos(-step * 20_000_000);
            source.set_error(MS * (step as u32 * 20 + 5));
            world.run(100 * MS).await;
            if step % 10 == 0 {
                world.put("\x10a", "1").await;
            }
        }
        assert!((1..=3).all(|n| world.store(n).clock_verdict().borrow().is_none()), "n{node} smeared");
    }
}

/// One clock jumps, forward or back, or stands still: its node finds out from its peers and takes itself out; the others go on, also together with their
/// own differences within the bounds.
#[tokio::test(start_paused = true)]
async fn a_node_beyond_its_clock_bound_takes_itself_out() {
    // By so many milliseconds at once, or by so much a second: a leap second smeared that the source knows nothing of.
    for (seed, jump, drift) in [(30, 150_i64, 0_i64), (31, -150, 0), (32, 0, -1000), (34, 0, -50), (35, 0, 50)] {
        let mut world = World::replicated(seed, 3).await;
        world.put("\x10a", "1").await;
        world.run(Duration::from_secs(2)).await;
        assert!((1..=3).all(|n| world.store(n).clock_verdict().borrow().is_none()), "seed {seed}: within the bounds");
        let source = world.nodes[&NodeId(3)].source.clone();
        if jump != 0 {
            source.set_skew_nanos(jump * 1_000_000);
        }
        for step in 1..if drift.abs() == 50 { 100 } else { 60 } {
            if jump == 0 {
                source.set_skew_nanos(step * drift * 50_000);
            }
            world.run(50 * MS).await;
        }
        let verdicts: Vec<bool> = (1..=3).map(|n| world.store(n).clock_verdict().borrow().is_some()).collect();
        assert_eq!(verdicts, [false, false, true], "seed {seed}, jump of {jump} ms, drift of {drift} ms a second");
        let why = world.store(3).clock_verdict().borrow().clone().unwrap();
        assert!(why.contains(if jump + drift > 0 { "ahead of" } else { "behind" }) && why.contains("2 of 2"), "{why}");
        // The server exits on the verdict; here that is a crash.
        world.crash(NodeId(3));
        world.put("\x10a", "2").await;
    }
}

/// Clocks worsen on all nodes at once: leases go on, and no leader follows another too early, whoever restarts and forgets what it promised. Once clocks are
/// better, failover is as quick as ever.
#[tokio::test(start_paused = true)]
async fn leases_slow_down_with_the_clocks_and_do_not_stop() {
    for seed in 0..8 {
        let mut world = World::replicated(40 + seed, 3).await;
        world.put("\x10a", "1").await;
        let worsen = |world: &World, error: Duration| world.nodes.values().for_each(|node| node.source.set_error(error));
        worsen(&world, 400 * MS);
        world.run(Duration::from_secs(2)).await;
        for round in 0..20 {
            assert!(world.leaseholder(TABLES).is_some(), "seed {seed}: no lease in round {round}");
            world.put("\x10b", "2").await;
            world.run(100 * MS).await;
        }
        let (holder, _) = world.leaseholder(TABLES).unwrap();
        let [second, third] = [1, 2].map(|n| NodeId((holder.0 - 1 + n) % 3 + 1));
        world.network.partition(holder, second);
        let pause = MS * world.rng.random_range(500..3000);
        world.run(pause).await;
        // The other follower forgets a promise that still stands, and its clock is better than the one it was given by.
        world.crash(third);
        if seed % 2 == 0 {
            world.nodes[&third].source.set_error(MS);
        }
        world.start(third);
        world.network.partition(holder, third);
        world.put("\x10c", "3").await;
        world.network.heal_all();
        worsen(&world, MS);
        world.run(Duration::from_secs(8)).await;
        let (holder, _) = world.leaseholder(TABLES).unwrap();
        world.crash(holder);
        let start = tokio::time::Instant::now();
        world.put("\x10d", "4").await;
        // The promises of before alone would have lasted longer.
        assert!(start.elapsed() < Duration::from_secs(2), "seed {seed}: {:?}", start.elapsed());
    }
}

/// The voter that promised restarts, forgets, and must not vote against its promise.
#[tokio::test(start_paused = true)]
async fn a_restarted_voter_keeps_silent() {
    for seed in 0..10 {
        let mut world = World::replicated(20 + seed, 3).await;
        world.put("\x10a", "1").await;
        world.run(Duration::from_secs(2)).await;
        assert_eq!(world.leaseholder(TABLES).map(|(n, _)| n), Some(NodeId(1)));
        world.network.partition(NodeId(1), NodeId(2));
        let pause = MS * world.rng.random_range(500..750);
        world.run(pause).await;
        // n2's own promise is about to lapse; n3's, which n1 serves under, is fresh.
        world.crash(NodeId(3));
        world.start(NodeId(3));
        world.network.partition(NodeId(1), NodeId(3));
        world.put("\x10b", "2").await;
        world.network.heal_all();
        world.put("\x10c", "3").await;
    }
}

#[tokio::test(start_paused = true)]
async fn replicated_ranges_split_and_move_on() {
    let mut world = World::replicated(14, 3).await;
    for i in 0..10 {
        world.put(&format!("\x10{i}"), "x").await;
    }
    let left = world.store(1).replica(TABLES).unwrap();
    world.until_done(left.split(Bytes::from_static(b"\x105"))).await.unwrap();
    let right = world.store(1).replica_for_key(b"\x107").unwrap().range_id();
    let (holder, took) = world.await_lease(right, None).await;
    assert_eq!(holder, NodeId(1));
    assert!(took < 100 * MS, "{took:?}");
    world.put("\x107", "y").await;
    world.crash(NodeId(1));
    world.put("\x107", "z").await;
    world.put("\x102", "z").await;
    world.start(NodeId(1));
    world.run(Duration::from_secs(3)).await;
    for node in ALL {
        assert_eq!(world.get(node, "\x107").as_deref(), Some("z"));
        assert_eq!(world.store(node).replica_for_key(b"\x107").unwrap().range_id(), right);
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_moves_to_another_node() {
    let mut world = World::replicated(15, 4).await;
    for i in 0..100 {
        world.put(&format!("\x10{i}"), "x").await;
    }
    let store = world.store(1).clone();
    world.until_done(async move { store.change_replicas(TABLES, Some(NodeId(4)), Some(NodeId(2))).await }).await.unwrap();
    world.run(Duration::from_secs(2)).await;
    assert_eq!(world.get(4, "\x1099").as_deref(), Some("x"));
    assert!(world.store(2).replica(TABLES).is_none());
    assert_eq!(world.get(2, "\x1099"), None);
    let nodes: Vec<NodeId> = world.store(4).replica(TABLES).unwrap().descriptor().replicas.iter().map(|r| r.node).collect();
    assert_eq!(nodes, [NodeId(1), NodeId(3), NodeId(4)]);
    // And it may come back, as a new replica.
    let store = world.store(1).clone();
    world.until_done(async move { store.change_replicas(TABLES, Some(NodeId(2)), None).await }).await.unwrap();
    world.run(Duration::from_secs(1)).await;
    assert_eq!(world.get(2, "\x1099").as_deref(), Some("x"));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_missed_the_log_gets_a_snapshot() {
    let mut world = World::replicated(16, 3).await;
    world.crash(NodeId(3));
    for i in 0..200 {
        world.put(&format!("\x10{i:03}"), "x").await;
    }
    world.run(Duration::from_secs(2)).await;
    world.start(NodeId(3));
    world.run(Duration::from_secs(5)).await;
    assert_eq!(world.get(3, "\x10199").as_deref(), Some("x"));
    assert!(world.watch.removed.lock().contains(&(NodeId(3), TABLES)), "it came by the log after all");
    let (holder, _) = world.leaseholder(TABLES).unwrap();
    let report = world.until_done(world.store(holder.0).check_replicas(TABLES)).await.unwrap();
    assert_eq!((report.sums.len(), report.differing.len()), (3, 0), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_diverged_replica_is_found_and_stopped() {
    let mut world = World::replicated(17, 3).await;
    world.put("\x10a", "1").await;
    world.run(Duration::from_secs(1)).await;
    let mut batch = Batch::new();
    mvcc::put_version(&mut batch, b"\x10rogue", Timestamp::from_raw(1 << 40), AttemptId(9), Some(b"!"));
    meridian_storage::Engine::apply(&*world.nodes[&NodeId(2)].engine, &batch).unwrap();
    let report = world.until_done(world.store(1).check_replicas(TABLES)).await.unwrap();
    assert_eq!(report.differing, [NodeId(2)]);
    world.put("\x10b", "2").await;
    world.run(Duration::from_secs(1)).await;
    assert_eq!(world.get(3, "\x10b").as_deref(), Some("2"));
    assert_eq!(world.get(2, "\x10b"), None);
}

/// Crashes, partitions, planned moves, splits and moves of replicas at random: nothing acknowledged is lost, the replicas agree in the end,
/// and the watcher finds no lease out of line.
#[tokio::test(start_paused = true)]
async fn faults_at_random_break_no_promise() {
    for seed in 205..213 {
        let mut world = World::replicated(seed, 4).await;
        let mut written = 0;
        let mut down = None;
        for _ in 0..25 {
            fault(&mut world, &mut down).await;
            for _ in 0..world.rng.random_range(0..10) {
                world.put(&key(written), "v").await;
                written += 1;
            }
            let pause = MS * world.rng.random_range(0..400);
            world.run(pause).await;
        }
        if let Some(node) = down.take() {
            world.start(node);
        }
        world.network.heal_all();
        world.put("\x10last", "v").await;
        world.run(Duration::from_secs(5)).await;
        all_agree(&world, written, seed).await;
    }
}

/// Keys in no order, so that both halves of a split go on being written.
fn key(i: usize) -> String {
    format!("\x10k{:04}", i * 7919 % 10_000)
}

async fn fault(world: &mut World, down: &mut Option<NodeId>) {
    let ranges: Vec<RangeId> = world.stores().iter().flat_map(|s| s.replicas()).map(|r| r.range_id()).collect();
    let range = ranges[world.rng.random_range(0..ranges.len())];
    let holder = world.leaseholder(range).map(|(node, _)| world.store(node.0).clone());
    let node = NodeId(world.rng.random_range(1..5));
    match world.rng.random_range(0..7) {
        0 if down.is_none() => {
            world.crash(node);
            *down = Some(node);
        }
        1 | 2 => {
            if let Some(node) = down.take() {
                world.start(node);
            }
        }
        3 if down.is_none() => {
            world.network.isolate(node);
            let pause = MS * world.rng.random_range(10..1500);
            world.run(pause).await;
            world.network.rejoin(node);
        }
        4 => {
            if let Some(store) = holder {
                let _ = world.until_done(async move { store.transfer_lease(range, node).await }).await;
            }
        }
        5 => {
            let split = key(world.rng.random_range(0..1000));
            if let Some(store) = holder
                && range >= TABLES
                && let Some(replica) = store.replica(range)
            {
                let _ = world.until_done(tokio::time::timeout(Duration::from_secs(1), replica.split(Bytes::from(split)))).await;
            }
        }
        6 if down.is_none() => {
            if let Some(store) = holder {
                let victim = NodeId(world.rng.random_range(1..5));
                let change = async move { store.change_replicas(range, Some(node), Some(victim)).await };
                let _ = world.until_done(tokio::time::timeout(Duration::from_secs(3), change)).await;
            }
        }
        _ => {}
    }
}

async fn all_agree(world: &World, written: usize, seed: u64) {
    let mut ranges: Vec<RangeId> = world.stores().iter().flat_map(|s| s.replicas()).map(|r| r.range_id()).collect();
    ranges.sort();
    ranges.dedup();
    for range in ranges {
        let (holder, _) = world.await_lease(range, None).await;
        let report = world.until_done(world.store(holder.0).check_replicas(range)).await.unwrap();
        assert_eq!((report.missing.len(), report.differing.len()), (0, 0), "seed {seed}: {report:?}");
    }
    for i in 0..written {
        let key = key(i);
        let holder = world.stores().into_iter().find(|s| s.replica_for_key(key.as_bytes()).is_some_and(|r| r.lease().is_ok()));
        let holder = holder.unwrap_or_else(|| panic!("seed {seed}: nobody serves {key}"));
        assert_eq!(world.get(holder.node().0, &key).as_deref(), Some("v"), "seed {seed}, {key}");
    }
}
