//! landbridge-registry.
