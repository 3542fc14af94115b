//! landbridge-carrier.
