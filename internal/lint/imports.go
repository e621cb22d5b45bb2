package lint

import (
	"fmt"
	"path"
	"strings"
)

// rule is one row of the import table of docs/ARCHITECTURE.md.
type rule struct {
	folder string   // a folder, or a folder and all below it where it ends in "/..."
	local  []string // folders of this module that it may import, same notation
	big    []string // large libraries that live in this folder
}

// table says which folder may import which. Every folder may import
// internal/mq. A row's own folder is allowed to rows that end in "/...".
// Nothing imports cmd, internal/app or internal/demo unless it is listed.
var table = []rule{
	{folder: "cmd/varve", local: []string{"internal/app", "internal/admin/...", "internal/archive/...", "internal/auth", "internal/config", "internal/demo", "internal/nearest", "internal/obs", "internal/proof", "internal/retention", "internal/units", "query/worker"}},
	{folder: "internal/app", local: []string{"..."}, big: []string{pebble}},
	{folder: "internal/demo", local: []string{"internal/app", "internal/admin/...", "internal/config", "internal/retention"}, big: []string{rocketmq}},
	{folder: "internal/admin/...", local: []string{"internal/auth", "internal/intake", "internal/proof", "internal/retention", "internal/units"}},
	{folder: "internal/config", local: []string{"internal/nearest", "internal/units"}},
	{folder: "internal/units"},
	{folder: "internal/nearest"},
	{folder: "internal/obs"},
	{folder: "internal/lint"},

	{folder: "internal/mq"},
	{folder: "internal/mq/mqtest"},
	{folder: "internal/expr"},
	{folder: "internal/remoting/...", local: []string{"internal/intake"}},
	{folder: "internal/dbcheck", big: []string{pebble}},
	{folder: "internal/meta", local: []string{"internal/dbcheck"}, big: []string{pebble}},
	{folder: "internal/auth", local: []string{"internal/meta"}},
	{folder: "internal/guard", local: []string{"internal/auth", "internal/remoting"}},
	{folder: "internal/tlsport"},
	{folder: "internal/conns"},
	{folder: "internal/clock"},
	{folder: "internal/backlog"},
	{folder: "internal/intake"},
	{folder: "internal/inflate"},
	{folder: "internal/refusal"},
	{folder: "internal/typed"},
	{folder: "internal/retention", local: []string{"internal/units"}},
	{folder: "internal/tier"},
	{folder: "internal/objstore"},
	{folder: "internal/objstore/fs", local: []string{"internal/objstore"}},
	{folder: "internal/objstore/mem", local: []string{"internal/objstore"}},
	{folder: "internal/objstore/objtest", local: []string{"internal/objstore"}},
	{folder: "internal/objstore/s3", local: []string{"internal/objstore"}, big: []string{minio}},
	{folder: "internal/sha256pair"},
	{folder: "internal/proof", local: []string{"internal/sha256pair"}},
	{folder: "internal/archive/...", local: []string{"internal/objstore", "internal/proof", "internal/typed"}, big: []string{parquet, arrow, iceberg}},

	{folder: "internal/migrate", local: []string{"broker/group", "broker/topic", "internal/archive", "internal/backup", "internal/objstore", "internal/remoting"}},
	{folder: "internal/backup", local: []string{"internal/archive", "internal/objstore"}},

	{folder: "hot", local: []string{"hot/segment", "hot/index"}, big: []string{pebble}},
	{folder: "hot/segment"},
	{folder: "hot/index", local: []string{"hot/segment", "internal/dbcheck"}, big: []string{pebble}},

	{folder: "broker", local: []string{"broker/filter", "broker/group", "broker/offset", "broker/quota", "broker/pop", "broker/timer", "broker/topic", "broker/traffic", "broker/txn", "hot", "internal/backlog", "internal/expr", "internal/meta"}},
	{folder: "broker/filter", local: []string{"internal/expr"}},
	{folder: "broker/group", local: []string{"internal/meta"}},
	{folder: "broker/quota", local: []string{"internal/meta"}},
	{folder: "broker/offset", local: []string{"internal/meta"}},
	{folder: "broker/pop", local: []string{"hot", "internal/meta"}},
	{folder: "broker/timer", local: []string{"hot", "internal/meta"}},
	{folder: "broker/topic", local: []string{"internal/meta"}},
	{folder: "broker/txn", local: []string{"hot", "internal/meta"}},
	{folder: "broker/traffic"},
	{folder: "broker/route", local: []string{"internal/remoting"}},
	{folder: "broker/front/fronttest", local: []string{"broker", "hot", "internal/meta"}},
	{folder: "broker/front/grpc", local: []string{"broker", "internal/auth", "internal/backlog", "internal/conns", "internal/inflate", "internal/intake", "internal/refusal"}, big: []string{grpc, grpcClient}},
	{folder: "broker/front/http", local: []string{"broker", "internal/auth", "internal/backlog", "internal/conns", "internal/inflate", "internal/intake", "internal/refusal", "internal/tlsport"}},
	{folder: "broker/front/remoting", local: []string{"broker", "broker/route", "internal/auth", "internal/refusal", "internal/remoting"}},

	{folder: "connector/apply", local: []string{"internal/archive", "internal/objstore", "internal/typed"}},
	{folder: "connector", local: []string{"hot", "internal/archive", "internal/objstore", "internal/typed"}},
	{folder: "connector/compact", local: []string{"internal/archive", "internal/objstore"}},
	{folder: "history", local: []string{"internal/archive", "internal/proof", "internal/typed", "internal/objstore", "internal/retention", "internal/remoting"}},
	{folder: "history/catalog", local: []string{"internal/archive", "internal/auth"}},
	{folder: "query/...", local: []string{"history", "internal/archive", "internal/objstore", "internal/expr", "internal/nearest", "internal/typed"}, big: []string{duckdb, arrow, parquet}},
	{folder: "replay", local: []string{"history", "internal/expr", "internal/inflate", "internal/meta"}},
}

// Libraries that live in one place; a row without one in big may not import it.
const (
	minio    = "github.com/minio/minio-go"
	parquet  = "github.com/parquet-go/parquet-go"
	arrow    = "github.com/apache/arrow-go"
	iceberg  = "github.com/apache/iceberg-go"
	pebble   = "github.com/cockroachdb/pebble"
	duckdb   = "github.com/duckdb"
	rocketmq = "github.com/apache/rocketmq-client-go"
	grpc     = "google.golang.org/grpc"
	// grpcClient holds the stubs of RocketMQ's gRPC protocol.
	grpcClient = "github.com/apache/rocketmq-clients"
)

var bigLibraries = []string{minio, parquet, arrow, iceberg, pebble, duckdb, rocketmq, grpc, grpcClient}

// pebbleVFS is the file system seam: open to all, unlike the rest of Pebble.
const pebbleVFS = pebble + "/v2/vfs"

// matches reports whether a folder falls under a pattern of the table.
func matches(pattern, folder string) bool {
	if pattern == "..." {
		return true
	}
	if base, below := strings.CutSuffix(pattern, "/..."); below {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	return pattern == folder
}

func ruleOf(t []rule, folder string) (rule, bool) {
	for _, r := range t {
		if matches(r.folder, folder) {
			return r, true
		}
	}
	return rule{}, false
}

// checkImports holds the files' imports to the table. Test files are free in
// what they import from below, but not the commands.
func checkImports(module string, t []rule, files []*file) []Finding {
	var out []Finding
	unlisted := map[string]bool{}
	for _, f := range files {
		folder := path.Dir(f.name)
		r, ok := ruleOf(t, folder)
		if !ok {
			if !unlisted[folder] {
				unlisted[folder] = true
				out = append(out, Finding{f.name, 1, "imports", fmt.Sprintf("folder %s is not in the import table", folder)})
			}
			continue
		}
		for _, imp := range f.imports {
			if why := refuse(module, r, folder, f.test, imp.path); why != "" {
				out = append(out, Finding{f.name, imp.line, "imports", why})
			}
		}
	}
	return out
}

func refuse(module string, r rule, folder string, test bool, imported string) string {
	local, isLocal := strings.CutPrefix(imported, module+"/")
	if !isLocal {
		for _, lib := range bigLibraries {
			if !strings.HasPrefix(imported, lib) || imported == pebbleVFS || test {
				continue
			}
			if !contains(r.big, lib) {
				return fmt.Sprintf("%s may not import %s: it lives elsewhere", folder, imported)
			}
		}
		return ""
	}
	switch {
	case local == "internal/mq", local == folder:
		return ""
	case test && !strings.HasPrefix(local, "cmd/"):
		return ""
	case strings.HasSuffix(r.folder, "/...") && matches(r.folder, local):
		return ""
	}
	for _, p := range r.local {
		if matches(p, local) && !strings.HasPrefix(local, "cmd/") {
			return ""
		}
	}
	return fmt.Sprintf("%s may not import %s", folder, local)
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
