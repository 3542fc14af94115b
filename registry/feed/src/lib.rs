//! landbridge-feed.
