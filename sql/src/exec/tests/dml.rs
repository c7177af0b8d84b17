use super::fixture::*;
use crate::error::SqlState;
use crate::exec::walk;
use crate::plan::expr::Expr;
use crate::plan::node::*;
use crate::types::{DataType, Datum};
use meridian_txn::api::{LockStrength, LockWait, TxnOptions};

const T: [DataType; 3] = [INT4, INT4, TEXT];

fn row(a: i32, b: Option<i32>, c: &str) -> Vec<Expr> {
    vec![int(a), b.map_or_else(null, int), text(c)]
}

async fn filled() -> Fixture {
    let f = Fixture::new();
    let rows = (1..=5).map(|n| row(n, (n != 3).then_some(n * 10), &format!("r{n}"))).collect();
    let (_, affected) = f.run(plan(Node::Insert(Box::new(insert(&f.table("t"), values(rows, &T)))), &[])).await.expect("inserts");
    assert_eq!(affected, 5);
    f
}

async fn all(f: &Fixture) -> Vec<String> {
    shown(&f.rows(scan_plan(scan(&f.table("t"), 1, Vec::new(), None))).await)
}

fn locked(f: &Fixture, filter: Option<Expr>) -> Plan {
    let mut scan = scan(&f.table("t"), 1, Vec::new(), filter);
    scan.lock = Some(RowLock { strength: LockStrength::Update, wait: LockWait::Block(None) });
    scan_plan(scan)
}

#[tokio::test]
async fn rows_come_back_through_every_index() {
    let f = filled().await;
    assert_eq!(all(&f).await, ["1 10 r1", "2 20 r2", "3 null r3", "4 40 r4", "5 50 r5"]);
    // b descending, NULLs first.
    let by_b = f.rows(scan_plan(scan(&f.table("t"), 2, Vec::new(), None))).await;
    assert_eq!(shown(&by_b), ["3 null r3", "5 50 r5", "4 40 r4", "2 20 r2", "1 10 r1"]);
    let range = IndexRange { lower: Some((int(20), false)), upper: Some((int(50), true)), ..IndexRange::default() };
    let some = f.rows(scan_plan(scan(&f.table("t"), 2, vec![range], None))).await;
    assert_eq!(shown(&some), ["5 50 r5", "4 40 r4"]);
    // A one-sided bound leaves NULLs out.
    let open = IndexRange { lower: Some((int(0), true)), ..IndexRange::default() };
    assert_eq!(f.rows(scan_plan(scan(&f.table("t"), 2, vec![open], None))).await.len(), 4);
    let point = IndexRange { equal: vec![text("r4")], ..IndexRange::default() };
    assert_eq!(shown(&f.rows(scan_plan(scan(&f.table("t"), 3, vec![point], None))).await), ["4 40 r4"]);
}

#[tokio::test]
async fn unique_violations_name_constraint_and_key_blind_and_checked() {
    let f = filled().await;
    for autocommit in [true, false] {
        for (new, constraint, detail) in
            [(row(3, None, "x"), "t_pkey", "Key (a)=(3) already exists."), (row(9, None, "r2"), "t_c_key", "Key (c)=(r2) already exists.")]
        {
            let insert = plan(Node::Insert(Box::new(insert(&f.table("t"), values(vec![new], &T)))), &[]);
            let error = if autocommit {
                f.run(insert).await.expect_err("a duplicate")
            } else {
                let mut txn = f.kv.begin(TxnOptions::default());
                f.run_in(&mut *txn, false, insert).await.expect_err("a duplicate")
            };
            assert_eq!(error.code, SqlState::UNIQUE_VIOLATION, "{error}");
            assert_eq!(error.message, format!("duplicate key value violates unique constraint \"{constraint}\""));
            assert_eq!(error.more.expect("fields").detail.as_deref(), Some(detail));
        }
    }
    assert_eq!(all(&f).await.len(), 5);
}

#[tokio::test]
async fn not_null_says_which_row() {
    let f = filled().await;
    let bad = vec![int(7), null(), Expr::Const { value: Datum::Null, ty: TEXT }];
    let error = f.run(plan(Node::Insert(Box::new(insert(&f.table("t"), values(vec![bad], &T)))), &[])).await.expect_err("NULL");
    assert_eq!(error.message, "null value in column \"c\" of relation \"t\" violates not-null constraint");
    assert_eq!(error.more.expect("fields").detail.as_deref(), Some("Failing row contains (7, null, null)."));
}

#[tokio::test]
async fn update_moves_index_entries_and_returns_new_rows() {
    let f = filled().await;
    let update = Update {
        table: f.table("t"),
        source: locked(&f, Some(op(">=", col(0, INT4), int(4)))),
        assignments: vec![(1, op("+", col(0, INT4), int(100))), (2, int(7))],
        checks: RowChecks::default(),
        returning: Some(vec![col(0, INT4)]),
        derived: Default::default(),
    };
    let (returned, affected) = f.run(plan(Node::Update(Box::new(update)), &[INT4])).await.expect("updates");
    assert_eq!((shown(&returned), affected), (vec!["104".to_owned(), "105".to_owned()], 2));
    let by_b = IndexRange { equal: vec![int(7)], ..IndexRange::default() };
    assert_eq!(shown(&f.rows(scan_plan(scan(&f.table("t"), 2, vec![by_b], None))).await), ["104 7 r4", "105 7 r5"]);
    assert_eq!(all(&f).await.len(), 5);
}

#[tokio::test]
async fn update_meets_keys_row_by_row_as_postgres_does() {
    let f = filled().await;
    let update = Update {
        table: f.table("t"),
        source: locked(&f, None),
        assignments: vec![(1, op("+", col(0, INT4), int(1)))],
        checks: RowChecks::default(),
        returning: None,
        derived: Default::default(),
    };
    let error = f.run(plan(Node::Update(Box::new(update)), &[])).await.expect_err("1 becomes 2, which is there");
    assert_eq!(error.more.expect("fields").detail.as_deref(), Some("Key (a)=(2) already exists."));
}

#[tokio::test]
async fn delete_removes_entries_and_cascades() {
    let f = filled().await;
    let children = (1..=4).map(|n| vec![int(n), int(1 + n % 2)]).collect();
    f.run(plan(Node::Insert(Box::new(insert(&f.table("child"), values(children, &[INT4, INT4])))), &[])).await.expect("children");
    let orphan = insert(&f.table("child"), values(vec![vec![int(9), int(77)]], &[INT4, INT4]));
    let error = f.run(plan(Node::Insert(Box::new(orphan)), &[])).await.expect_err("no parent");
    assert_eq!(error.code, SqlState::FOREIGN_KEY_VIOLATION);
    assert_eq!(error.message, "insert or update on table \"child\" violates foreign key constraint \"child_a_fkey\"");
    assert_eq!(error.more.expect("fields").detail.as_deref(), Some("Key (a)=(77) is not present in table \"t\"."));

    let delete = Delete {
        table: f.table("t"),
        source: locked(&f, Some(op("=", col(0, INT4), int(1)))),
        returning: None,
        derived: Default::default(),
    };
    let (_, affected) = f.run(plan(Node::Delete(Box::new(delete)), &[])).await.expect("deletes");
    assert_eq!(affected, 1, "rows of cascades are not counted");
    assert_eq!(shown(&f.rows(scan_plan(scan(&f.table("child"), 1, Vec::new(), None))).await), ["1 2", "3 2"]);
    let update = Update {
        table: f.table("t"),
        source: locked(&f, Some(op("=", col(0, INT4), int(2)))),
        assignments: vec![(1, int(50))],
        checks: RowChecks::default(),
        returning: None,
        derived: Default::default(),
    };
    let error = f.run(plan(Node::Update(Box::new(update)), &[])).await.expect_err("still referenced");
    assert_eq!(error.message, "update or delete on table \"t\" violates foreign key constraint \"child_a_fkey\" on table \"child\"");
    assert_eq!(error.more.expect("fields").detail.as_deref(), Some("Key (a)=(2) is still referenced from table \"child\"."));
}

#[tokio::test]
async fn on_conflict_updates_once_and_skips() {
    let f = filled().await;
    let upsert = |rows: Vec<Vec<Expr>>, update: bool| {
        let mut insert = insert(&f.table("t"), values(rows, &T));
        let update = update.then(|| ConflictUpdate { assignments: vec![(2, op("+", col(1, INT4), col(4, INT4)))], predicate: None });
        insert.conflict = Some(OnConflict { arbiters: vec![1], update });
        insert.returning = Some(vec![col(0, INT4), col(1, INT4)]);
        plan(Node::Insert(Box::new(insert)), &[INT4, INT4])
    };
    let (rows, affected) = f.run(upsert(vec![row(1, Some(5), "x"), row(8, Some(8), "r8")], true)).await.expect("upserts");
    assert_eq!((shown(&rows), affected), (vec!["1 15".to_owned(), "8 8".to_owned()], 2));
    let (rows, affected) =
        f.run(upsert(vec![row(1, Some(5), "x"), row(11, Some(1), "r11"), row(11, None, "y")], false)).await.expect("skips");
    assert_eq!((shown(&rows), affected), (vec!["11 1".to_owned()], 1));
    let error = f.run(upsert(vec![row(20, None, "r20"), row(20, None, "z")], true)).await.expect_err("twice");
    assert_eq!(error.code, SqlState::CARDINALITY_VIOLATION);
}

#[tokio::test]
async fn sequences_run_ahead_by_cache_and_end() {
    let f = Fixture::new();
    let next = Expr::ExecutorCall {
        function: function("nextval", &[DataType::REGCLASS]),
        args: vec![Expr::Const { value: Datum::Oid(102), ty: DataType::REGCLASS }],
        ty: DataType::INT8,
    };
    assert!(walk::suspends(&next));
    let three = values(vec![vec![next.clone()], vec![next.clone()], vec![next.clone()]], &[DataType::INT8]);
    assert_eq!(shown(&f.rows(three).await), ["1", "3", "5"]);
    // A new session: the rest of the cached block is lost, as in PostgreSQL.
    assert_eq!(shown(&f.rows(values(vec![vec![next.clone()]], &[DataType::INT8])).await), ["9"]);
    let error = f.run(values(vec![vec![next]], &[DataType::INT8])).await.expect_err("the end");
    assert_eq!(error.message, "nextval: reached maximum value of sequence \"s\" (9)");
}
