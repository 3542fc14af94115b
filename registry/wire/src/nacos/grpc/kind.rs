//! The types of messages by name, and which type answers which.

macro_rules! kinds {
    ($($kind:ident $request:literal $response:literal,)*) => {
        /// The types a client may send, for answers and as a bounded label in metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("`", $request, "`.")] $kind,)*
            /// Any other.
            Unknown,
        }

        impl Kind {
            /// The kind of a type's name.
            pub fn of(name: &str) -> Self {
                match name {
                    $($request => Self::$kind,)*
                    _ => Self::Unknown,
                }
            }

            /// The type's name, `Unknown` for any other.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $request,)*
                    Self::Unknown => "Unknown",
                }
            }

            /// The type that answers it.
            pub fn response(self) -> &'static str {
                match self {
                    $(Self::$kind => $response,)*
                    Self::Unknown => "ErrorResponse",
                }
            }
        }
    };
}

kinds! {
    ServerCheck "ServerCheckRequest" "ServerCheckResponse",
    HealthCheck "HealthCheckRequest" "HealthCheckResponse",
    ConnectionSetup "ConnectionSetupRequest" "ErrorResponse",
    Instance "InstanceRequest" "InstanceResponse",
    BatchInstance "BatchInstanceRequest" "BatchInstanceResponse",
    PersistentInstance "PersistentInstanceRequest" "InstanceResponse",
    ServiceQuery "ServiceQueryRequest" "QueryServiceResponse",
    ServiceList "ServiceListRequest" "ServiceListResponse",
    Subscribe "SubscribeServiceRequest" "SubscribeServiceResponse",
    FuzzyWatch "NamingFuzzyWatchRequest" "NamingFuzzyWatchResponse",
    ConfigQuery "ConfigQueryRequest" "ConfigQueryResponse",
    ConfigPublish "ConfigPublishRequest" "ConfigPublishResponse",
    ConfigRemove "ConfigRemoveRequest" "ConfigRemoveResponse",
    ConfigListen "ConfigBatchListenRequest" "ConfigChangeBatchListenResponse",
    NotifyAck "NotifySubscriberResponse" "ErrorResponse",
    FuzzySyncAck "NamingFuzzyWatchSyncResponse" "ErrorResponse",
    FuzzyChangeAck "NamingFuzzyWatchChangeNotifyResponse" "ErrorResponse",
    DetectionAck "ClientDetectionResponse" "ErrorResponse",
    ResetAck "ConnectResetResponse" "ErrorResponse",
    SetupAck "SetupAckResponse" "ErrorResponse",
    PushAck "PushAckRequest" "ErrorResponse",
}
