use crate::front::ExplainOptions; use crate::catalog::snapshot::CatalogSnapshot; use super::node::Plan;
pub struct NodeFigures { pub rows: u64, pub loops: u64, pub micros: u64, pub local_batches: u64, pub remote_batches: u64, pub ranges: u64 }
pub struct ExplainInput<'a> { pub options: &'a ExplainOptions, pub figures: Option<&'a dyn Fn(&Plan) -> Option<NodeFigures>>, pub catalog: &'a CatalogSnapshot }
pub fn explain(plan: &Plan, input: &ExplainInput<'_>) -> Vec<String> { let _ = input.figures; format!("{:#?}", plan.node).lines().map(str::to_owned).collect() }
