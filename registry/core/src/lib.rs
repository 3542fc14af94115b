//! landbridge-registry-core.
