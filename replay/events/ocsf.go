package events

import "encoding/json"

// The shape of events is that of the Open Cybersecurity Schema Framework (https://schema.ocsf.io), version
// [SchemaVersion]. Numbers are its own.

// SchemaVersion is the version of OCSF that events say they follow.
const SchemaVersion = "1.2.0"

// A class of events and what it belongs to.
type class struct {
	uid, category      int
	name, categoryName string
}

var (
	classFile           = class{1001, 1, "File System Activity", "System Activity"}
	classProcess        = class{1007, 1, "Process Activity", "System Activity"}
	classAuthentication = class{3002, 3, "Authentication", "Identity & Access Management"}
	classSSH            = class{4007, 4, "SSH Activity", "Network Activity"}
	classTunnel         = class{4014, 4, "Tunnel Activity", "Network Activity"}
	classAPI            = class{6003, 6, "API Activity", "Application Activity"}
	classDatastore      = class{6005, 6, "Datastore Activity", "Application Activity"}
)

// An activity of a class.
type activity struct {
	id   int
	name string
}

func other(name string) activity { return activity{99, name} }

type event struct {
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name"`
	CategoryUID  int    `json:"category_uid"`
	CategoryName string `json:"category_name"`
	ClassUID     int    `json:"class_uid"`
	ClassName    string `json:"class_name"`
	TypeUID      int    `json:"type_uid"`
	SeverityID   int    `json:"severity_id"`
	Severity     string `json:"severity"`
	StatusID     int    `json:"status_id,omitempty"`
	Status       string `json:"status,omitempty"`
	StatusDetail string `json:"status_detail,omitempty"`
	Time         int64  `json:"time"` // milliseconds since 1970
	StartTime    int64  `json:"start_time,omitempty"`
	EndTime      int64  `json:"end_time,omitempty"`
	Duration     int64  `json:"duration,omitempty"` // milliseconds
	Count        int64  `json:"count,omitempty"`
	Message      string `json:"message"`

	Metadata    metadata       `json:"metadata"`
	Actor       *actor         `json:"actor,omitempty"`
	User        *user          `json:"user,omitempty"`
	Device      *device        `json:"device,omitempty"`
	Src         *endpoint      `json:"src_endpoint,omitempty"`
	Dst         *endpoint      `json:"dst_endpoint,omitempty"`
	Session     *sessionObject `json:"session,omitempty"`
	ActionID    *int           `json:"action_id,omitempty"`
	Action      string         `json:"action,omitempty"`
	AuthType    string         `json:"auth_type,omitempty"`
	AuthTypeID  int            `json:"auth_type_id,omitempty"`
	Process     *process       `json:"process,omitempty"`
	ExitCode    *int           `json:"exit_code,omitempty"`
	File        *file          `json:"file,omitempty"`
	Database    *database      `json:"database,omitempty"`
	QueryInfo   *queryInfo     `json:"query_info,omitempty"`
	API         *api           `json:"api,omitempty"`
	Service     *named         `json:"service,omitempty"`
	Certificate *certificate   `json:"certificate,omitempty"`
	Protocol    string         `json:"auth_protocol,omitempty"`
	ProtocolID  int            `json:"auth_protocol_id,omitempty"`
	Traffic     *traffic       `json:"traffic,omitempty"`
	TunnelType  string         `json:"tunnel_type,omitempty"`
	TunnelID    int            `json:"tunnel_type_id,omitempty"`
	Unmapped    map[string]any `json:"unmapped,omitempty"`
}

type metadata struct {
	Version     string   `json:"version"`
	UID         string   `json:"uid"` // the same when an event is sent again
	LogName     string   `json:"log_name"`
	LogProvider string   `json:"log_provider"` // the gate
	EventCode   string   `json:"event_code"`   // the gate's own word
	Correlation string   `json:"correlation_uid,omitempty"`
	Product     product  `json:"product"`
	Profiles    []string `json:"profiles"`
}

type product struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type named struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

type actor struct {
	User      *user          `json:"user,omitempty"`
	InvokedBy string         `json:"invoked_by,omitempty"` // on whose behalf an agent acts
	Session   *sessionObject `json:"session,omitempty"`
}

type user struct {
	Name   string  `json:"name,omitempty"`
	UID    string  `json:"uid,omitempty"`
	Email  string  `json:"email_addr,omitempty"`
	Type   string  `json:"type,omitempty"`
	TypeID int     `json:"type_id"`
	Groups []named `json:"groups,omitempty"`
}

type device struct {
	Hostname string `json:"hostname,omitempty"`
	Name     string `json:"name,omitempty"`
	Type     string `json:"type"`
	TypeID   int    `json:"type_id"`
}

type endpoint struct {
	IP      string `json:"ip,omitempty"`
	Port    int    `json:"port,omitempty"`
	Name    string `json:"name,omitempty"`
	SvcName string `json:"svc_name,omitempty"`
}

type sessionObject struct {
	UID         string `json:"uid"`
	CreatedTime int64  `json:"created_time,omitempty"`
	Issuer      string `json:"issuer,omitempty"`
	IsRemote    bool   `json:"is_remote"`
}

type process struct {
	CmdLine string `json:"cmd_line"`
	UID     string `json:"uid"`
	User    *user  `json:"user,omitempty"`
}

type file struct {
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`
	TypeID int    `json:"type_id"`
}

type database struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
}

type queryInfo struct {
	QueryString string `json:"query_string"`
}

type api struct {
	Operation string `json:"operation"`
	Service   *named `json:"service,omitempty"`
}

type certificate struct {
	Serial       string        `json:"serial_number"`
	Issuer       string        `json:"issuer"`
	Subject      string        `json:"subject,omitempty"`
	Created      int64         `json:"created_time,omitempty"`
	Expiration   int64         `json:"expiration_time,omitempty"`
	Fingerprints []fingerprint `json:"fingerprints"`
}

type fingerprint struct {
	Algorithm   string `json:"algorithm"`
	AlgorithmID int    `json:"algorithm_id"`
	Value       string `json:"value"`
}

type traffic struct {
	BytesOut int64 `json:"bytes_out"`
}

// is makes e an activity of a class.
func (e *event) is(c class, a activity) {
	e.ClassUID, e.ClassName, e.CategoryUID, e.CategoryName = c.uid, c.name, c.category, c.categoryName
	e.ActivityID, e.ActivityName, e.TypeUID = a.id, a.name, c.uid*100+a.id
}

// The severities that events have.
func (e *event) informational() { e.SeverityID, e.Severity = 1, "Informational" }
func (e *event) low()           { e.SeverityID, e.Severity = 2, "Low" }
func (e *event) medium()        { e.SeverityID, e.Severity = 3, "Medium" }
func (e *event) high()          { e.SeverityID, e.Severity = 4, "High" }

func (e *event) succeeded() { e.StatusID, e.Status = 1, "Success" }
func (e *event) failed()    { e.StatusID, e.Status = 2, "Failure" }

// decided says what the gate decided: allow, deny or hold.
func (e *event) decided(decision string) {
	id, name := 99, "Held"
	switch decision {
	case "allow":
		id, name = 1, "Allowed"
	case "deny":
		id, name = 2, "Denied"
	}
	e.ActionID, e.Action = &id, name
}

// line is e as JSON in one line.
func (e *event) line() ([]byte, error) { return json.Marshal(e) }
