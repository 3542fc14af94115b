//! landbridge-wire.
