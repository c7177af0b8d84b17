pub mod differential;
pub mod sim;
