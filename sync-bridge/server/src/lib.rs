//! landbridge-bridge.
