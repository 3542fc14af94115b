//! landbridge-gateway-core.
