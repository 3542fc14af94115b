//! landbridge-model.
