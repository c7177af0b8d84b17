

pub mod differential;
