//! landbridge-runtime.
