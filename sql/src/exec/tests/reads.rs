use std::sync::Arc;

use super::fixture::*;
use crate::plan::expr::{Expr, SubqueryKind};
use crate::plan::node::*;
use crate::types::DataType;

fn numbers(rows: &[i32]) -> Plan {
    values(rows.iter().map(|n| vec![int(*n)]).collect(), &[INT4])
}

#[tokio::test]
async fn correlated_subqueries_see_their_row() {
    let f = Fixture::new();
    // SELECT n, (SELECT m FROM (VALUES …) WHERE m = n) …
    let inner = plan(
        Node::Filter {
            input: Box::new(numbers(&[2, 3])),
            predicate: op("=", col(0, INT4), Expr::Outer { depth: 1, ordinal: 0, ty: INT4 }),
        },
        &[INT4],
    );
    let scalar = Expr::Subquery { plan: Arc::new(inner), kind: SubqueryKind::Scalar, correlated: true, ty: INT4 };
    let outer = plan(Node::Project { input: Box::new(numbers(&[1, 2, 2, 3])), exprs: vec![col(0, INT4), scalar] }, &[INT4, INT4]);
    assert_eq!(shown(&f.rows(outer).await), ["1 null", "2 2", "2 2", "3 3"]);
}

#[tokio::test]
async fn an_endless_recursion_ends_at_the_limit() {
    let f = Fixture::new();
    let step = plan(
        Node::Project { input: Box::new(plan(Node::WorkTable { id: 1 }, &[INT4])), exprs: vec![op("+", col(0, INT4), int(1))] },
        &[INT4],
    );
    let recursive = plan(Node::RecursiveUnion { id: 1, base: Box::new(numbers(&[1])), step: Box::new(step), distinct: false }, &[INT4]);
    let body = plan(
        Node::Limit {
            input: Box::new(plan(Node::CteScan { cte: 0 }, &[INT4])),
            limit: Some(int(4)),
            offset: Some(int(1)),
            with_ties: None,
        },
        &[INT4],
    );
    let with =
        plan(Node::With { ctes: vec![Cte { id: 0, name: "r".into(), plan: recursive, modifies: false }], body: Box::new(body) }, &[INT4]);
    assert_eq!(shown(&f.rows(with).await), ["2", "3", "4", "5"]);
}

#[tokio::test]
async fn windows_frame_by_rows_and_range() {
    let f = Fixture::new();
    let window = |function: &str, args: Vec<Expr>, frame: Frame| {
        let types: Vec<DataType> = args.iter().map(Expr::ty).collect();
        WindowCall { function: super::fixture::function(function, &types), args, filter: None, frame, ty: DataType::INT8 }
    };
    let whole = Frame { unit: FrameUnit::Range, start: FrameBound::UnboundedPreceding, end: FrameBound::CurrentRow };
    let near = Frame { unit: FrameUnit::Range, start: FrameBound::Preceding(int(1)), end: FrameBound::Following(int(1)) };
    let one = Frame { unit: FrameUnit::Rows, start: FrameBound::Preceding(int(1)), end: FrameBound::CurrentRow };
    let calls = vec![
        window("row_number", vec![], whole.clone()),
        window("rank", vec![], whole.clone()),
        window("sum", vec![col(0, INT4)], whole),
        window("sum", vec![col(0, INT4)], near),
        window("sum", vec![col(0, INT4)], one),
    ];
    let types = [INT4, DataType::INT8, DataType::INT8, DataType::INT8, DataType::INT8, DataType::INT8];
    let node = Node::Window { input: Box::new(numbers(&[1, 2, 2, 5])), partition: vec![], order: vec![key(col(0, INT4), false)], calls };
    assert_eq!(shown(&f.rows(plan(node, &types)).await), ["1 1 1 1 5 1", "2 2 2 5 5 3", "2 3 2 5 5 4", "5 4 4 10 5 7"]);
}

#[tokio::test]
async fn set_operations_mind_duplicates() {
    let f = Fixture::new();
    let run = async |kind, all| {
        let node = Node::SetOp { left: Box::new(numbers(&[1, 2, 2, 2, 3])), right: Box::new(numbers(&[2, 2, 3, 4])), kind, all };
        let mut rows = shown(&f.rows(plan(node, &[INT4])).await);
        rows.sort();
        rows.join(" ")
    };
    assert_eq!(run(SetOpKind::Union, false).await, "1 2 3 4");
    assert_eq!(run(SetOpKind::Intersect, false).await, "2 3");
    assert_eq!(run(SetOpKind::Intersect, true).await, "2 2 3");
    assert_eq!(run(SetOpKind::Except, false).await, "1");
    assert_eq!(run(SetOpKind::Except, true).await, "1 2");
}
