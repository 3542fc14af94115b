//! landbridge.
