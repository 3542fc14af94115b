//! landbridge-gateway.
