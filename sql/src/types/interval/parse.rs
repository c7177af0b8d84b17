use super::*;
use crate::functions::SessionView;
/// x
pub fn parse_interval(_text: &str, _typmod: i32, _session: &SessionView) -> Result<Interval> {
    Err(SqlError::unsupported("interval input"))
}
