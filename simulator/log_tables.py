"""The columns of the log tables that tell about machines and virtual desktops, as Microsoft documents them.

Facts from the Azure Monitor table reference (learn.microsoft.com, azure/azure-monitor/reference/tables), in its order. A table's text
is a list of its columns with their types: "Computer:string TimeGenerated:datetime".
"""

_REFERENCE = {
    "Heartbeat": """
        SourceSystem:string TimeGenerated:datetime ManagementGroupName:string ComputerIP:string Computer:string
        Category:string OSType:string OSName:string OSMajorVersion:string OSMinorVersion:string Version:string
        SCAgentChannel:string IsGatewayInstalled:bool RemoteIPLongitude:real RemoteIPLatitude:real
        RemoteIPCountry:string SubscriptionId:string ResourceGroup:string ResourceProvider:string Resource:string
        ResourceId:string ResourceType:string ComputerEnvironment:string Solutions:string VMUUID:string
        ComputerPrivateIPs:dynamic Type:string _IsBillable:string _BilledSize:real _ResourceId:string
        _SubscriptionId:string
    """,
    "WVDAgentHealthStatus": """
        TenantId:string TimeGenerated:datetime OperationName:string SessionHostName:string
        SessionHostResourceId:string AgentVersion:string OSVersion:string SxSStackVersion:string
        AllowNewSessions:string Status:string StatusTimeStamp:datetime LastHeartBeat:datetime UpgradeState:string
        UpgradeErrorMsg:string LastUpgradeTimeStamp:datetime SessionHostHealthCheckResult:dynamic
        ActiveSessions:string InactiveSessions:string SourceSystem:string Type:string _IsBillable:string
        _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "WVDConnections": """
        TenantId:string TimeGenerated:datetime CorrelationId:string UserName:string State:string ClientOS:string
        ClientVersion:string ClientType:string ClientSideIPAddress:string PredecessorConnectionId:string
        ConnectionType:string ResourceAlias:string SessionHostName:string SessionHostPoolType:string
        SessionHostAzureVmId:string SessionHostIPAddress:string SessionHostOSVersion:string
        SessionHostOSDescription:string SessionHostAgentVersion:string SessionHostSxSStackVersion:string
        SessionHostSessionId:string AadTenantId:string GatewayRegion:string SessionHostJoinType:string
        IsClientPrivateLink:string IsSessionHostPrivateLink:string TransportType:string SourceSystem:string
        Type:string _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "WVDErrors": """
        TenantId:string TimeGenerated:datetime CorrelationId:string UserName:string ActivityType:string
        Source:string Code:long CodeSymbolic:string Message:string ServiceError:bool Operation:string
        SourceSystem:string Type:string _IsBillable:string _BilledSize:real _ResourceId:string
        _SubscriptionId:string
    """,
    "WVDCheckpoints": """
        TenantId:string TimeGenerated:datetime ActivityType:string CorrelationId:string UserName:string Name:string
        Source:string Parameters:dynamic SourceSystem:string Type:string _IsBillable:string _BilledSize:real
        _ResourceId:string _SubscriptionId:string
    """,
    "WVDHostRegistrations": """
        TenantId:string TimeGenerated:datetime CorrelationId:string SessionHostName:string
        SessionHostIPAddress:string IsSessionHostPrivateLink:string SourceSystem:string Type:string
        _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "WVDManagement": """
        TenantId:string TimeGenerated:datetime CorrelationId:string UserName:string Route:string
        ArmObjectScope:string ClientSideIPAddress:string ObjectsFetched:int ObjectsCreated:int ObjectsUpdated:int
        ObjectsDeleted:int ProvisioningCorrelationId:string AadTenantId:string SourceSystem:string Type:string
        _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "WVDSessionHostManagement": """
        TenantId:string TimeGenerated:datetime CorrelationId:string ClientType:string
        FailedSessionHostCleanupPolicy:string FromInstanceCount:int FromSessionHostConfigVer:string
        UpdateMaxVmsRemoved:int ProvisioningStatus:string ProvisioningType:string ProvisioningCanaryPolicy:string
        ScheduledDateTime:string ScheduledDateTimeZone:string ToInstanceCount:int ToSessionHostConfigVer:string
        UpdateMethod:string UpdateStartWindowInMinutes:int UpdateDeleteOriginalVm:bool SourceSystem:string
        Type:string _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "WVDConnectionNetworkData": """
        TenantId:string TimeGenerated:datetime CorrelationId:string EstRoundTripTimeInMs:int
        EstAvailableBandwidthKBps:int SourceSystem:string Type:string _IsBillable:string _BilledSize:real
        _ResourceId:string _SubscriptionId:string
    """,
    "Perf": """
        TenantId:string TimeGenerated:datetime Computer:string ObjectName:string CounterName:string
        InstanceName:string CounterValue:real CounterPath:string SourceSystem:string Min:real Max:real
        BucketStartTime:datetime BucketEndTime:datetime StandardDeviation:real SampleCount:int _IsBillable:string
        _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "Event": """
        SourceSystem:string TimeGenerated:datetime Source:string EventLog:string Computer:string EventLevel:int
        EventLevelName:string ParameterXml:string EventData:string EventID:int RenderedDescription:string
        AzureDeploymentID:string Role:string EventCategory:int UserName:string Message:string
        ManagementGroupName:string Type:string _IsBillable:string _BilledSize:real _ResourceId:string
        _SubscriptionId:string
    """,
    "WindowsEvent": """
        TenantId:string TimeGenerated:datetime Provider:string Channel:string Computer:string Task:int
        EventLevel:int EventLevelName:string EventID:int ManagementGroupName:string SystemUserId:string Version:int
        Opcode:string Keywords:string Correlation:string SystemProcessId:int SystemThreadId:int EventRecordId:string
        EventData:dynamic RawEventData:string EventOriginId:string Type:string _IsBillable:string _BilledSize:real
        _ResourceId:string _SubscriptionId:string
    """,
    "InsightsMetrics": """
        SourceSystem:string TimeGenerated:datetime Computer:string Origin:string Namespace:string Name:string
        Val:real Tags:string AgentId:string Value:string Type:string _IsBillable:string _BilledSize:real
        _ResourceId:string _SubscriptionId:string
    """,
    "Update": """
        SourceSystem:string TimeGenerated:datetime ManagementGroupName:string SourceComputerId:string Title:string
        MSRCSeverity:string Classification:string PublishedDate:datetime Computer:string UpdateState:string
        Product:string KBID:string UpdateID:string RevisionNumber:string Optional:bool RebootBehavior:string
        MSRCBulletinID:string Approved:bool ApprovalSource:string InstallTimePredictionSeconds:real
        InstallTimeDeviationRangeSeconds:real InstallTimeAvailable:bool SubscriptionId:string ResourceGroup:string
        ResourceProvider:string Resource:string ResourceId:string ResourceType:string ComputerEnvironment:string
        VMUUID:string OSType:string ProductVersion:string ProductArch:string CVENumbers:string BulletinUrl:string
        BulletinID:string PackageRepository:string PackageSeverity:string OSName:string OSVersion:string
        OSFullName:string Type:string _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "UpdateSummary": """
        SourceSystem:string TimeGenerated:datetime ManagementGroupName:string SourceComputerId:string
        OldestMissingSecurityUpdateInDays:int OldestMissingSecurityUpdateBucket:string WindowsUpdateSetting:string
        WindowsUpdateAgentVersion:string WSUSServer:string Computer:string OsVersion:string NETRuntimeVersion:string
        CriticalUpdatesMissing:int SecurityUpdatesMissing:int OtherUpdatesMissing:int TotalUpdatesMissing:int
        RestartPending:bool SubscriptionId:string ResourceGroup:string ResourceProvider:string Resource:string
        ResourceId:string ResourceType:string ComputerEnvironment:string VMUUID:string Type:string
        _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "UpdateRunProgress": """
        SourceSystem:string TimeGenerated:datetime ManagementGroupName:string SourceComputerId:string KBID:string
        UpdateId:string SucceededOnRetry:bool ErrorResult:string UpdateRunName:string InstallationStatus:string
        Computer:string Title:string Product:string OSType:string StartTime:datetime EndTime:datetime
        CorrelationId:string SubscriptionId:string ResourceGroup:string ResourceProvider:string Resource:string
        ResourceId:string ResourceType:string ComputerEnvironment:string VMUUID:string Type:string
        _IsBillable:string _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
    "AzureActivity": """
        OperationName:string OperationNameValue:string Level:string ActivityStatus:string ActivityStatusValue:string
        ActivitySubstatus:string ActivitySubstatusValue:string ResourceGroup:string SubscriptionId:string
        CorrelationId:string Caller:string CallerIpAddress:string Category:string CategoryValue:string
        HTTPRequest:string Properties:string EventSubmissionTimestamp:datetime Authorization:string
        ResourceId:string OperationId:string ResourceProvider:string ResourceProviderValue:string Resource:string
        EventDataId:string TenantId:string TimeGenerated:datetime SourceSystem:string Authorization_d:dynamic
        Claims:string Claims_d:dynamic Properties_d:dynamic Hierarchy:string Type:string _IsBillable:string
        _BilledSize:real _ResourceId:string _SubscriptionId:string
    """,
}

# Table name to column name to Kusto type: bool, datetime, dynamic, guid, int, long, real, string or timespan.
TABLES: dict[str, dict[str, str]] = {
    table: dict(column.split(":") for column in columns.split()) for table, columns in _REFERENCE.items()
}
