//! landbridge-client.
