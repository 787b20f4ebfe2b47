//! Where error types of the lower floors become Kafka's error codes.
