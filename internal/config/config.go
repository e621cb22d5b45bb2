package config

import (
	"time"

	"varve/internal/units"
)

// Bytes is a size: "256MiB" or a plain number.
type Bytes = units.Bytes

// Config is every setting of a process.
type Config struct {
	Roles        []string     `koanf:"roles" help:"parts to run: route, broker, connector, history"`
	DataDir      string       `koanf:"data-dir" help:"directory of everything this process keeps"`
	Cluster      string       `koanf:"cluster" help:"cluster name that clients see"`
	Restore      bool         `koanf:"restore" help:"where the data directory is empty and the bucket has an archive of this broker group, begin by restoring it; may stay on"`
	Log          Log          `koanf:"log"`
	Memory       Memory       `koanf:"memory"`
	Route        Route        `koanf:"route"`
	Broker       Broker       `koanf:"broker"`
	GRPC         GRPC         `koanf:"grpc"`
	MQHTTP       MQHTTP       `koanf:"mqhttp"`
	Transactions Transactions `koanf:"transactions"`
	Hot          Hot          `koanf:"hot"`
	Connector    Connector    `koanf:"connector"`
	Compaction   Compaction   `koanf:"compaction"`
	Archive      Archive      `koanf:"archive"`
	History      History      `koanf:"history"`
	Query        Query        `koanf:"query"`
	Retention    Retention    `koanf:"retention"`
	Backup       Backup       `koanf:"backup"`
	Proof        Proof        `koanf:"proof"`
	HTTP         HTTP         `koanf:"http"`
	Auth         Auth         `koanf:"auth"`
	TLS          TLS          `koanf:"tls"`
}

// Log says what the process writes to standard error.
type Log struct {
	Level  string `koanf:"level" help:"debug, info, warn or error"`
	Format string `koanf:"format" help:"text or json"`
}

// Memory bounds the Go heap; DuckDB workers have a limit of their own.
type Memory struct {
	Limit Bytes `koanf:"limit" help:"soft limit of the Go heap, at least 64MiB; 0 is no limit (GOMEMLIMIT wins where it is set)"`
	Floor Bytes `koanf:"floor" help:"the heap grows to this before it is collected; 0 is no floor"`
	GC    int   `koanf:"gc-percent" help:"heap growth between collections above the floor (GOGC wins where it is set)"`
}

// Route is the name server.
type Route struct {
	Listen    string   `koanf:"listen" help:"address of the name server"`
	Addresses []string `koanf:"addresses" help:"other name servers to register with; none uses the one in this process"`
}

// Broker is what producers and consumers talk to.
type Broker struct {
	Name             string        `koanf:"name" help:"broker group's name; part of every queue's identity, so never change it over data"`
	Listen           string        `koanf:"listen" help:"address of the remoting port"`
	Advertise        string        `koanf:"advertise" help:"host:port that clients are told; the listen address where empty"`
	AutoCreateTopics bool          `koanf:"auto-create-topics" help:"a send to an unknown topic creates it"`
	DefaultQueues    int           `koanf:"default-queues" help:"queues of an auto-created topic"`
	CheckTypes       string        `koanf:"check-types" help:"whose messages must be of their topic's message.type: grpc (and HTTP SDKs; as RocketMQ: remoting clients send anything), all or none"`
	MaxMessage       Bytes         `koanf:"max-message" help:"largest body taken"`
	PullMessages     int           `koanf:"pull-messages" help:"most messages of one pull, whatever the client asks for; more suits batch readers, RocketMQ gives 32"`
	MaxDelay         time.Duration `koanf:"max-delay" help:"longest time that a message may be held back; 0 is no bound"`
	Connections      int           `koanf:"connections" help:"most client connections at once"`
	VIP              bool          `koanf:"vip" help:"listen two ports below the remoting port too, where clients up to RocketMQ 4.4 connect first"`
	PopQueue         int           `koanf:"pop-queue" help:"messages of one queue that POP consumers of a group may have unacked"`
	PopGroup         int           `koanf:"pop-group" help:"messages that POP consumers of a group may have unacked in all"`
	RouteCold        bool          `koanf:"route-cold" help:"send clients to the history node for cold offsets; false reads for them"`
}

// GRPC is the broker's port for gRPC clients.
type GRPC struct {
	Listen      string `koanf:"listen" help:"address of the broker's gRPC port; plaintext and TLS share it"`
	Advertise   string `koanf:"advertise" help:"host:port that gRPC clients are told; where empty, the one by which they came"`
	Connections int    `koanf:"connections" help:"most gRPC connections at once"`
}

// MQHTTP is the broker's port for the aliyunmq HTTP SDKs.
type MQHTTP struct {
	Listen           string        `koanf:"listen" help:"address of the broker's port for the aliyunmq HTTP SDKs; plain HTTP and TLS share it"`
	Connections      int           `koanf:"connections" help:"most connections of it at once"`
	Invisible        time.Duration `koanf:"invisible" help:"time that a consumer has to ack a message before it comes again"`
	InvisibleOrdered time.Duration `koanf:"invisible-ordered" help:"the same for what is consumed in order"`
}

// Transactions says how long a transaction may be in doubt.
type Transactions struct {
	Timeout       time.Duration `koanf:"timeout" help:"age at which a producer is first asked what became of its transaction"`
	CheckInterval time.Duration `koanf:"check-interval" help:"time between two questions about one transaction"`
	MaxChecks     int           `koanf:"max-checks" help:"questions after which a transaction is given up"`
	MaxAge        time.Duration `koanf:"max-age" help:"time after which a transaction is given up although no producer of its group came to be asked"`
	KeepGivenUp   time.Duration `koanf:"keep-given-up" help:"how long a transaction that was given up can be restored, from its send"`
	MaxPerTopic   int           `koanf:"max-per-topic" help:"transactions of one topic in doubt before more are told busy"`
}

// Hot is the local log.
type Hot struct {
	Flush          string        `koanf:"flush" help:"async (acks before the disk has it) or sync (fsync before the ack)"`
	FlushInterval  time.Duration `koanf:"flush-interval" help:"longest time unsynced under async"`
	Segment        Bytes         `koanf:"segment" help:"size of a log segment, 8MiB to 2GiB; trimming frees whole ones"`
	MaxPending     Bytes         `koanf:"max-pending" help:"accepted but unwritten bytes before sends are told busy"`
	MinFree        Bytes         `koanf:"min-free" help:"free disk below which sends are refused, at least 16MiB"`
	KeepFor        time.Duration `koanf:"keep-for" help:"age up to which archived messages stay hot"`
	KeepBytes      Bytes         `koanf:"keep-bytes" help:"size up to which archived messages stay hot; 0 is no bound"`
	TrimInterval   time.Duration `koanf:"trim-interval" help:"how often the log is trimmed"`
	DropUnarchived bool          `koanf:"drop-unarchived" help:"trim by age and size even what the archive does not have: loses messages while the bucket is down"`
}

// Connector moves the log into the archive.
type Connector struct {
	RollBytes  Bytes         `koanf:"roll-bytes" help:"raw bytes after which a data file is closed"`
	RollAge    time.Duration `koanf:"roll-age" help:"age after which a data file of a busy queue is closed"`
	RollAgeMax time.Duration `koanf:"roll-age-max" help:"age after which a data file of an idle queue is closed"`
	Memory     Bytes         `koanf:"memory" help:"most memory for messages that wait for their file"`
}

// Compaction puts small data files together.
type Compaction struct {
	Enabled   bool          `koanf:"enabled" help:"put a queue's small files together, in the background"`
	Interval  time.Duration `koanf:"interval" help:"how often tables are looked at"`
	FullBytes Bytes         `koanf:"full-bytes" help:"size from which a data file is left alone; merged ones have up to twice as much"`
	Span      time.Duration `koanf:"span" help:"files are put together within periods of this length, by the calendar of UTC; retention by age is as fine as that"`
	// ShareAfter counts from the end of a period.
	ShareAfter time.Duration `koanf:"share-after" help:"how long a period has been over when the files of queues that have little of it are put into one object; what comes later gets an object of its own a period later"`
	Settle     time.Duration `koanf:"settle" help:"how long the last message of a file has been stored before it is touched"`
	Bandwidth  Bytes         `koanf:"bandwidth" help:"most bytes a second that it reads from, and writes to, the archive's store; 0 is no bound"`
	CPU        int           `koanf:"cpu" help:"per cent of one processor that it takes where files have to be decoded, 1 to 100"`
}

// Archive says where the archive lies.
type Archive struct {
	Kind string `koanf:"kind" help:"dir or s3"`
	Dir  string `koanf:"dir" help:"directory of a dir archive; DATA-DIR/archive where empty"`
	S3   S3     `koanf:"s3"`
	// Timeout bounds one request, and how long none may be answered.
	Timeout time.Duration `koanf:"timeout" help:"longest wait for the archive's store to answer a read, or to go on with an answer (writes: 30s at least); while it has answered nothing for so long, what needs the archive fails at once"`
	// Abandon is an act, not a state: it is done once for an identity.
	Abandon string `koanf:"abandon" help:"identity of an archive that is lost for good: what only it had is given up, and archiving starts anew"`
}

// S3 is an S3 bucket.
type S3 struct {
	Endpoint  string `koanf:"endpoint" help:"host:port or URL of the store"`
	Bucket    string `koanf:"bucket" help:"bucket; it must exist"`
	Prefix    string `koanf:"prefix" help:"start of every object's name"`
	Region    string `koanf:"region" help:"region of the bucket"`
	AccessKey string `koanf:"access-key" help:"access key"`
	SecretKey string `koanf:"secret-key" help:"secret key; better in VARVE_ARCHIVE_S3_SECRET_KEY than in a file"`
	TLS       bool   `koanf:"tls" help:"use https; a URL as endpoint decides by itself"`
	PathStyle bool   `koanf:"path-style" help:"always put the bucket in the path; by itself it is put in the host name for the large clouds only"`
}

// History serves the archive.
type History struct {
	Listen    string `koanf:"listen" help:"address of the cold remoting port"`
	Advertise string `koanf:"advertise" help:"host:port that clients are told; the listen address where empty"`
	BrokerID  int    `koanf:"broker-id" help:"id under which it stands in the broker group's route"`
	Cache     Bytes  `koanf:"cache" help:"disk for cached pieces of a remote archive"`
	Files     Bytes  `koanf:"files" help:"disk for whole files of a remote archive, which SQL needs"`
	Memory    Bytes  `koanf:"memory" help:"memory for cached pieces of the archive"`
}

// Query is SQL.
type Query struct {
	Timeout     time.Duration `koanf:"timeout" help:"longest run of one query"`
	Memory      Bytes         `koanf:"memory" help:"memory of one query"`
	Rows        int64         `koanf:"rows" help:"most rows of one answer"`
	Concurrency int           `koanf:"concurrency" help:"queries at once"`
}

// Retention says how often rules are applied.
type Retention struct {
	Interval   time.Duration `koanf:"interval" help:"how often rules are applied to the archive"`
	Grace      time.Duration `koanf:"grace" help:"time between a file leaving its table and its object going; 0 is none"`
	LeaseBytes Bytes         `koanf:"lease-bytes" help:"how much one lease may keep that retention would remove; 0 is no bound"`
	LeaseAge   time.Duration `koanf:"lease-age" help:"how long one lease may last, however often it is renewed; 0 is no bound"`
	Sweep      time.Duration `koanf:"sweep" help:"how often a table that changed is looked through for snapshots and objects that nobody needs any more"`
}

// Backup says how often the state goes to the archive's bucket.
type Backup struct {
	Every time.Duration `koanf:"every" help:"how often topics, settings, groups' offsets, users, rules and what is held back are kept in the archive's bucket, where they changed; what a restore gives back"`
}

// Proof is what an archive's history is proven with.
type Proof struct {
	KeyFile string `koanf:"key-file" help:"file of the Ed25519 key (PEM, PKCS #8) that signs the archive's heads and certificates of erasures; varve archive keygen makes one; where empty they are not signed"`
}

// HTTP is the port of API, health and metrics.
type HTTP struct {
	Listen      string `koanf:"listen" help:"address of API, health and metrics; it asks for no password unless auth.enabled: keep it private"`
	Connections int    `koanf:"connections" help:"most connections of it at once"`
	PProf       bool   `koanf:"pprof" help:"serve /debug/pprof"`
}

// Auth is access control.
type Auth struct {
	Enabled        bool   `koanf:"enabled" help:"check who sends a request and whether that user may, on every port"`
	SuperUser      string `koanf:"super-user" help:"super user that is made at the start where there is none of that name; without it the first start with access control makes admin, and admin-credentials in the data directory has its password"`
	SuperSecretKey string `koanf:"super-secret-key" help:"its password; better in VARVE_AUTH_SUPER_SECRET_KEY than in a file"`
	AccessKey      string `koanf:"access-key" help:"user as which this process calls name servers and brokers of other processes"`
	SecretKey      string `koanf:"secret-key" help:"its password; better in VARVE_AUTH_SECRET_KEY than in a file"`
}

// TLS is encryption, the same for every port.
type TLS struct {
	Mode string `koanf:"mode" help:"disabled, permissive (each port takes TLS and plain connections) or enforcing (TLS alone)"`
	Cert string `koanf:"cert" help:"PEM file of the certificate and its chain; where empty one is made, in DATA-DIR/tls"`
	Key  string `koanf:"key" help:"PEM file of the certificate's key"`
	CA   string `koanf:"ca" help:"PEM file of the certificates by which other processes are known that this one calls under enforcing; where empty they are not checked"`
}

// Modes of TLS.
const (
	TLSDisabled   = "disabled"
	TLSPermissive = "permissive"
	TLSEnforcing  = "enforcing"
)

// Roles that a process can have.
const (
	RoleRoute     = "route"
	RoleBroker    = "broker"
	RoleConnector = "connector"
	RoleHistory   = "history"
)

// AllRoles is every role.
var AllRoles = []string{RoleRoute, RoleBroker, RoleConnector, RoleHistory}

// Default is a whole node on this machine alone.
func Default() Config {
	return Config{
		Roles:   append([]string(nil), AllRoles...),
		DataDir: "./varve-data",
		Cluster: "DefaultCluster",
		Log:     Log{Level: "info", Format: "text"},
		Memory:  Memory{Limit: 320 << 20, Floor: 96 << 20, GC: 75},
		Route:   Route{Listen: "127.0.0.1:9876", Addresses: []string{}},
		Broker: Broker{
			Name: "varve-a", Listen: "127.0.0.1:10911", AutoCreateTopics: true, DefaultQueues: 4, PullMessages: 32, CheckTypes: "grpc",
			MaxMessage: 4 << 20, Connections: 20_000, VIP: true, RouteCold: true, PopQueue: 10_000, PopGroup: 200_000,
		},
		GRPC:   GRPC{Listen: "127.0.0.1:8081", Connections: 20_000},
		MQHTTP: MQHTTP{Listen: "127.0.0.1:8083", Connections: 4096, Invisible: 5 * time.Minute, InvisibleOrdered: time.Minute},
		Transactions: Transactions{
			Timeout: 6 * time.Second, CheckInterval: 30 * time.Second, MaxChecks: 15, MaxAge: 72 * time.Hour,
			KeepGivenUp: 7 * 24 * time.Hour, MaxPerTopic: 100_000,
		},
		Hot: Hot{
			Flush: "async", FlushInterval: 500 * time.Millisecond, Segment: 256 << 20, MaxPending: 64 << 20,
			MinFree: 1 << 30, KeepFor: 24 * time.Hour, TrimInterval: time.Minute,
		},
		Connector: Connector{RollBytes: 64 << 20, RollAge: 10 * time.Second, RollAgeMax: 5 * time.Minute, Memory: 96 << 20},
		Compaction: Compaction{
			Enabled: true, Interval: 5 * time.Minute, FullBytes: 128 << 20, Span: 24 * time.Hour, ShareAfter: 2 * time.Hour, Settle: 10 * time.Minute,
			Bandwidth: 32 << 20, CPU: 25,
		},
		Archive:   Archive{Kind: "dir", Timeout: 5 * time.Second, S3: S3{Region: "us-east-1", TLS: true}},
		History:   History{Listen: "127.0.0.1:10915", BrokerID: 1000, Cache: 2 << 30, Files: 4 << 30, Memory: 64 << 20},
		Query:     Query{Timeout: time.Minute, Memory: 1 << 30, Rows: 1_000_000, Concurrency: 2},
		Retention: Retention{Interval: 10 * time.Minute, Grace: 10 * time.Minute, Sweep: time.Hour, LeaseBytes: 100 << 30, LeaseAge: 30 * 24 * time.Hour},
		Backup:    Backup{Every: time.Minute},
		HTTP:      HTTP{Listen: "127.0.0.1:8082", Connections: 1024},
		TLS:       TLS{Mode: TLSPermissive},
	}
}

// Has reports whether the process runs a role.
func (c *Config) Has(role string) bool {
	for _, r := range c.Roles {
		if r == role {
			return true
		}
	}
	return false
}
