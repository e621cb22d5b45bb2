package server

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ApacheVersion is the release that e2e/apache/pom.xml names.
const ApacheVersion = "5.5.0"

// jvmArgs are what Java 17 needs for these jars, and the heap that the
// distribution would take on such a machine (without AlwaysPreTouch, in its favour).
var jvmArgs = []string{
	"-server", "-Xms4g", "-Xmx4g", "-XX:+UseG1GC", "-XX:G1HeapRegionSize=16m", "-XX:G1ReservePercent=25",
	"-XX:InitiatingHeapOccupancyPercent=30", "-XX:-OmitStackTraceInFastThrow",
	"-Djava.net.preferIPv4Stack=true",
	"--add-opens=java.base/sun.nio.ch=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED",
	"--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.util=ALL-UNNAMED",
	"--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
	"--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED", "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
}

// Apache is where the real broker's jars are.
type Apache struct{ Lib string }

// StartNamesrv starts the name server alone, which the broker needs beforehand.
func (a Apache) startNamesrv(ctx context.Context, o Options) (*process, error) {
	home, addr := o.Dir, o.Addresses().Route
	conf := filepath.Join(home, "namesrv.conf")
	text := "listenPort=" + portOf(addr) + "\nbindAddress=127.0.0.1\nkvConfigPath=" + home + "/kvConfig.json\nconfigStorePath=" + home + "/namesrv.properties\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("writing %s: %w", conf, err)
	}
	ready, said := onLine("boot success")
	p, err := a.java(home, "namesrv", ready, append(tlsArgs(o), "-Xms256m", "-Xmx256m", "-XX:+UseSerialGC"), "org.apache.rocketmq.namesrv.NamesrvStartup", "-c", conf)
	if err != nil {
		return nil, err
	}
	return p, p.waitLine(ctx, said)
}

// Start starts name server and broker over the folder and waits until the broker says that it is up.
func (a Apache) Start(ctx context.Context, o Options) (*Server, error) {
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the broker's folder: %w", err)
	}
	if err := quietLogs(o.Dir); err != nil {
		return nil, err
	}
	ns, err := a.startNamesrv(ctx, o)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(o.Dir, "broker.conf")
	if err := os.WriteFile(conf, []byte(apacheConf(o)), 0o644); err != nil {
		return nil, fmt.Errorf("writing %s: %w", conf, err)
	}
	args := []string{"org.apache.rocketmq.broker.BrokerStartup", "-c", conf}
	if o.GRPC {
		proxy := filepath.Join(o.Dir, "rmq-proxy.json")
		if err := os.WriteFile(proxy, proxyConf(o), 0o644); err != nil {
			return nil, fmt.Errorf("writing %s: %w", proxy, err)
		}
		args = []string{"org.apache.rocketmq.proxy.ProxyStartup", "-n", o.Addresses().Route, "-pm", "local", "-bc", conf, "-pc", proxy}
	}
	opts := append(tlsArgs(o), jvmArgs...)
	if o.GRPC { // it would refuse messages on a disk that is nine tenths full
		opts = append(opts, "-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99", "-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.99")
	}
	if o.SmallHeap {
		opts = append(opts, "-Xms1g", "-Xmx1g")
	}
	ready, said := onLine("boot success", "startup successfully")
	spawned := time.Now()
	p, err := a.java(o.Dir, "broker", ready, opts, args...)
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "apache-" + ApacheVersion, Dir: o.Dir, Addrs: o.Addresses(), Spawned: spawned, broker: p, helpers: []*process{ns}}
	for _, d := range []string{"commitlog", "consumequeue", "index"} {
		s.HotDirs = append(s.HotDirs, filepath.Join(o.Dir, "store", d))
	}
	return s, p.waitLine(ctx, said)
}

// quietLogs writes the settings of logs without which 4.9 doesn't start.
func quietLogs(dir string) error {
	conf := filepath.Join(dir, "conf")
	err := os.MkdirAll(conf, 0o755)
	for _, name := range []string{"namesrv", "broker"} {
		if err == nil {
			err = os.WriteFile(filepath.Join(conf, "logback_"+name+".xml"), []byte(`<configuration><root level="OFF"/></configuration>`), 0o644)
		}
	}
	if err != nil {
		return fmt.Errorf("writing settings of logs: %w", err)
	}
	return nil
}

func apacheConf(o Options) string {
	flush := "ASYNC_FLUSH"
	if o.SyncFlush {
		flush = "SYNC_FLUSH"
	}
	lines := []string{
		"brokerClusterName=DefaultCluster", "brokerName=broker-a", "brokerId=0", "brokerRole=ASYNC_MASTER",
		"brokerIP1=127.0.0.1", "bindAddress=127.0.0.1", "listenPort=" + portOf(o.Addresses().Broker), "namesrvAddr=" + o.Addresses().Route,
		"autoCreateTopicEnable=true", "autoCreateSubscriptionGroup=true", "enablePropertyFilter=true",
		"timerWheelEnable=true", "recallMessageEnable=true", "traceTopicEnable=true", "flushDiskType=" + flush,
		"storePathRootDir=" + o.Dir + "/store", "storePathCommitLog=" + o.Dir + "/store/commitlog",
	}
	if o.GRPC { // the judge of what works, on a busy machine: it isn't to refuse sends that had to wait
		lines = append(lines, "waitTimeMillsInSendQueue=20000", "waitTimeMillsInAckQueue=20000", "waitTimeMillsInTransactionQueue=20000", "diskMaxUsedSpaceRatio=99")
	}
	if o.Access {
		for key, value := range apacheAccess() {
			lines = append(lines, fmt.Sprintf("%s=%v", key, value))
		}
	}
	return strings.Join(append(append(lines, o.Conf...), ""), "\n")
}

// apacheAccess are the settings of access control, in the broker's file and in its proxy's.
func apacheAccess() map[string]any {
	const auth = "org.apache.rocketmq.auth."
	return map[string]any{
		"authenticationEnabled":                true,
		"authenticationProvider":               auth + "authentication.provider.DefaultAuthenticationProvider",
		"authenticationMetadataProvider":       auth + "authentication.provider.LocalAuthenticationMetadataProvider",
		"initAuthenticationUser":               fmt.Sprintf(`{"username":%q,"password":%q}`, RootUser, RootSecret),
		"innerClientAuthenticationCredentials": fmt.Sprintf(`{"accessKey":%q,"secretKey":%q}`, RootUser, RootSecret),
		"authorizationEnabled":                 true,
		"authorizationProvider":                auth + "authorization.provider.DefaultAuthorizationProvider",
		"authorizationMetadataProvider":        auth + "authorization.provider.LocalAuthorizationMetadataProvider",
	}
}

// proxyConf is the configuration of the gRPC proxy in the broker's process.
func proxyConf(o Options) []byte {
	port, err := strconv.Atoi(portOf(o.Addresses().GRPC))
	if err != nil { // ports are ours
		panic(err)
	}
	conf := map[string]any{
		"rocketMQClusterName": "DefaultCluster", "proxyMode": "LOCAL", "namesrvAddr": o.Addresses().Route,
		"grpcServerPort": port, "remotingListenPort": port - 1, "localServeAddr": "127.0.0.1",
	}
	if o.Access {
		maps.Copy(conf, apacheAccess())
		conf["authenticationMetadataProvider"] = "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider" // the broker's users
		conf["authorizationMetadataProvider"] = "org.apache.rocketmq.proxy.auth.ProxyAuthorizationMetadataProvider"
	}
	b, err := json.Marshal(conf)
	if err != nil { // of texts, numbers and truths
		panic(err)
	}
	return b
}

// tlsArgs have a Java process take nothing but TLS.
func tlsArgs(o Options) []string {
	if !o.TLSOnly {
		return nil
	}
	return []string{"-Dtls.server.mode=enforcing", "-Dtls.enable=true"}
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

func (a Apache) java(home, name string, ready func(string), opts []string, args ...string) (*process, error) {
	argv := append([]string{}, opts...)
	argv = append(argv, "-Drocketmq.home.dir="+home, "-Duser.home="+home, "-cp", filepath.Join(a.Lib, "*"))
	cmd := exec.Command("java", append(argv, args...)...)
	cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+home)
	cmd.Dir = home
	return spawn("apache "+name, filepath.Join(home, name+".log"), ready, cmd)
}
