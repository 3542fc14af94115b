//! landbridge-store.
