//! What must be equal however it is computed: spilled or not, hashed or nested, pushed down or here.

use proptest::prelude::*;

use super::fixture::*;
use crate::plan::expr::Expr;
use crate::plan::node::*;
use crate::types::DataType;

type Pairs = Vec<(Option<i32>, i32)>;

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::vec((prop::option::weighted(0.9, -4..12i32), -50..50i32), 0..120)
}

fn input(rows: &Pairs) -> Plan {
    let row = |(k, v): &(Option<i32>, i32)| vec![k.map_or_else(null, int), int(*v)];
    values(rows.iter().map(row).collect(), &[INT4, INT4])
}

fn block<T>(work: impl std::future::Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Rows of a plan as sorted text, with little or plenty of memory.
async fn bag(f: &mut Fixture, budget: usize, plan: Plan) -> Vec<String> {
    f.budget = budget;
    let mut rows = shown(&f.rows(plan).await);
    rows.sort();
    rows
}

const KINDS: [JoinKind; 5] = [JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::Semi, JoinKind::Anti];

fn join_types(kind: JoinKind) -> Vec<DataType> {
    vec![INT4; if matches!(kind, JoinKind::Semi | JoinKind::Anti) { 2 } else { 4 }]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_spilled_sort_is_a_sort(rows in pairs(), limit in prop::option::of(0..200i32)) {
        block(async {
            let mut f = Fixture::new();
            f.budget = 1;
            let keys = vec![key(col(0, INT4), true), key(col(1, INT4), false)];
            let node = Node::Sort { input: Box::new(input(&rows)), keys, limit: limit.map(int) };
            let got = shown(&f.rows(plan(node, &[INT4, INT4])).await);
            let mut expected = rows.clone();
            // NULLs first with DESC.
            expected.sort_by_key(|(k, v)| (k.is_some(), std::cmp::Reverse(*k), *v));
            expected.truncate(limit.map_or(usize::MAX, |l| l as usize));
            let expected: Vec<String> =
                expected.iter().map(|(k, v)| format!("{} {v}", k.map_or("null".to_owned(), |k| k.to_string()))).collect();
            assert_eq!(got, expected);
        });
    }

    #[test]
    fn every_join_method_joins_alike(left in pairs(), right in pairs(), kind in 0..5usize, with_residual in any::<bool>()) {
        block(async {
            let mut f = Fixture::new();
            let kind = KINDS[kind];
            let types = join_types(kind);
            let residual = with_residual.then(|| op("<", col(1, INT4), col(3, INT4)));
            let equal = op("=", col(0, INT4), col(2, INT4));
            let predicate = match &residual {
                Some(residual) => Expr::And(vec![equal, residual.clone()]),
                None => equal,
            };
            let nested = Node::NestedLoop {
                left: Box::new(input(&left)), right: Box::new(input(&right)), kind, predicate: Some(predicate), lateral: false,
            };
            let expected = bag(&mut f, usize::MAX / 8, plan(nested, &types)).await;
            for budget in [1, usize::MAX / 8] {
                let hash = Node::HashJoin {
                    left: Box::new(input(&left)), right: Box::new(input(&right)), kind,
                    left_keys: vec![col(0, INT4)], right_keys: vec![col(0, INT4)], residual: residual.clone(),
                };
                assert_eq!(bag(&mut f, budget, plan(hash, &types)).await, expected, "hash join, budget {budget}");
            }
            let sorted = |rows: &Pairs| {
                let node = Node::Sort { input: Box::new(input(rows)), keys: vec![key(col(0, INT4), false)], limit: None };
                Box::new(plan(node, &[INT4, INT4]))
            };
            let merge = Node::MergeJoin {
                left: sorted(&left), right: sorted(&right), kind,
                left_keys: vec![key(col(0, INT4), false)], right_keys: vec![key(col(0, INT4), false)], residual,
            };
            assert_eq!(bag(&mut f, usize::MAX / 8, plan(merge, &types)).await, expected, "merge join");
        });
    }

    #[test]
    fn aggregation_is_the_same_whole_spilled_sorted_and_pushed_down(rows in pairs(), least in -60..60i32) {
        block(async {
            let mut f = Fixture::new();
            let t = f.table("t");
            // t(a, b, c): the key is the row's number, b is the group, c is unique text.
            let stored = rows.iter().enumerate()
                .map(|(n, (k, v))| vec![int(n as i32 * 100 + v + 50), k.map_or_else(null, int), text(&format!("r{n}"))])
                .collect();
            if !rows.is_empty() {
                let insert = insert(&t, values(stored, &[INT4, INT4, TEXT]));
                f.run(plan(Node::Insert(Box::new(insert)), &[])).await.expect("inserts");
            }
            let calls = || vec![call("count", vec![]), call("sum", vec![col(0, INT4)]), call("max", vec![col(0, INT4)]), call("avg", vec![col(0, INT4)])];
            let filter = op(">", op("%", col(0, INT4), int(100)), int(least));
            let types: Vec<DataType> = std::iter::once(INT4).chain(calls().iter().map(|c| c.ty)).collect();
            let aggregate = |input: Plan, sorted: bool| {
                let node = Aggregate {
                    input, groups: vec![col(1, INT4)], sets: vec![], calls: calls(), grouping: vec![], sorted, phase: AggregatePhase::Complete,
                };
                plan(Node::Aggregate(Box::new(node)), &types)
            };
            // The filter above the scan: nothing is pushed down.
            let rows_here = || {
                let input = Box::new(scan_plan(scan(&t, 1, vec![], None)));
                plan(Node::Filter { input, predicate: filter.clone() }, &[INT4, INT4, TEXT])
            };
            let expected = bag(&mut f, usize::MAX / 8, aggregate(rows_here(), false)).await;
            assert_eq!(bag(&mut f, 1, aggregate(rows_here(), false)).await, expected, "spilled");
            let sort = Node::Sort { input: Box::new(rows_here()), keys: vec![key(col(1, INT4), false)], limit: None };
            assert_eq!(bag(&mut f, usize::MAX / 8, aggregate(plan(sort, &[INT4, INT4, TEXT]), true)).await, expected, "sorted");
            let filtered = scan_plan(scan(&t, 1, vec![], Some(filter.clone())));
            assert_eq!(bag(&mut f, usize::MAX / 8, aggregate(filtered, false)).await, expected, "filter pushed down");
            let mut partial = scan(&t, 1, vec![], Some(filter.clone()));
            partial.aggregate = Some(PartialAggregate { groups: vec![col(1, INT4)], calls: calls() });
            let last = Aggregate {
                input: plan(Node::Scan(Box::new(partial)), &[INT4]), groups: vec![col(0, INT4)], sets: vec![], calls: calls(), grouping: vec![],
                sorted: false, phase: AggregatePhase::Final,
            };
            assert_eq!(bag(&mut f, usize::MAX / 8, plan(Node::Aggregate(Box::new(last)), &types)).await, expected, "aggregated below");
        });
    }

    #[test]
    fn distinct_and_set_operations_do_not_mind_spilling(left in pairs(), right in pairs(), kind in 0..3usize, all in any::<bool>()) {
        block(async {
            let mut f = Fixture::new();
            let kind = [SetOpKind::Union, SetOpKind::Intersect, SetOpKind::Except][kind];
            let node = || Node::SetOp { left: Box::new(input(&left)), right: Box::new(input(&right)), kind, all };
            let expected = bag(&mut f, usize::MAX / 8, plan(node(), &[INT4, INT4])).await;
            // EXCEPT without ALL must remember what it handed out: give that much.
            assert_eq!(bag(&mut f, 8 * 1024, plan(node(), &[INT4, INT4])).await, expected);
            let distinct = || Node::Distinct { input: Box::new(input(&left)) };
            let expected = bag(&mut f, usize::MAX / 8, plan(distinct(), &[INT4, INT4])).await;
            assert_eq!(bag(&mut f, 1, plan(distinct(), &[INT4, INT4])).await, expected);
        });
    }
}
