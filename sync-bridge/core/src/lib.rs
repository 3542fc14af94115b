//! landbridge-bridge-core.
