//! landbridge-tests.
