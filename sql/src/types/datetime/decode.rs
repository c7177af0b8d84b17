use crate::error::{Result, SqlError};
use crate::types::text_io::Io;
pub fn parse_date(_t: &str, _io: &Io<'_>) -> Result<i32> {
    Err(SqlError::unsupported("x"))
}
pub fn parse_time(_t: &str, _io: &Io<'_>) -> Result<i64> {
    Err(SqlError::unsupported("x"))
}
pub fn parse_timetz(_t: &str, _io: &Io<'_>) -> Result<(i64, i32)> {
    Err(SqlError::unsupported("x"))
}
pub fn parse_timestamp(_t: &str, _io: &Io<'_>) -> Result<i64> {
    Err(SqlError::unsupported("x"))
}
pub fn parse_timestamptz(_t: &str, _io: &Io<'_>) -> Result<i64> {
    Err(SqlError::unsupported("x"))
}
