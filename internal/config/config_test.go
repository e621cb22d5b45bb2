package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func load(t *testing.T, yaml string, environ, args []string) (*Loaded, error) {
	t.Helper()
	path := ""
	if yaml != "" {
		path = filepath.Join(t.TempDir(), "varve.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	Flags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(path, environ, set)
}

func TestLaterLayersWin(t *testing.T) {
	l, err := load(t, "hot:\n  flush: sync\n  segment: 64MiB\n  keep-for: 2h\nroles: [route, broker]\n",
		[]string{"VARVE_HOT_SEGMENT=128MiB", "VARVE_CONNECTOR_ROLL_BYTES=1000000"}, []string{"--hot.keep-for=3h", "--http.pprof", "--data-dir", "/x"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Hot.Flush != "sync" || l.Hot.Segment != 128<<20 || l.Hot.KeepFor != 3*time.Hour || !l.HTTP.PProf || l.DataDir != "/x" {
		t.Errorf("got %+v %+v", l.Hot, l.HTTP)
	}
	if strings.Join(l.Roles, "+") != "route+broker" {
		t.Errorf("roles %q", l.Roles)
	}
	if l.Connector.RollBytes != 1000000 || l.Connector.RollAge != Default().Connector.RollAge {
		t.Errorf("connector %+v", l.Connector)
	}
	want := map[string]string{
		"hot.flush": "file ", "hot.segment": "environment VARVE_HOT_SEGMENT", "hot.keep-for": "flag --hot.keep-for", "cluster": "default",
	}
	for _, v := range l.Values {
		if w, ok := want[v.Key]; ok && !strings.HasPrefix(v.Source, w) {
			t.Errorf("%s comes from %q, want %q", v.Key, v.Source, w)
		}
	}
}

func TestErrorsNameKeyAndReason(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		env, args  []string
		want       []string
	}{
		{"unknown key", "hot:\n  flsh: sync\n", nil, nil, []string{"hot.flsh", "unknown", `"hot.flush"`, "varve.yaml"}},
		{"unknown variable", "", []string{"VARVE_HOT_FLUSHH=x"}, nil, []string{"VARVE_HOT_FLUSHH", `"VARVE_HOT_FLUSH"`}},
		{"bad word", "", nil, []string{"--hot.flush=never"}, []string{"hot.flush", `"never"`, "async", "flag --hot.flush"}},
		{"no broker name", "", nil, []string{"--broker.name="}, []string{"broker.name: empty"}},
		{"a path as broker name", "", []string{"VARVE_BROKER_NAME=a/b"}, nil, []string{"broker.name", `"a/b" has the character '/'`, "VARVE_BROKER_NAME"}},
		{"a long broker name", "", nil, []string{"--broker.name=" + strings.Repeat("x", 128)}, []string{"broker.name: a name of 128 bytes"}},
		{"no cluster name", "", nil, []string{"--cluster="}, []string{"cluster: empty"}},
		{"two of one address", "", nil, []string{"--history.listen=127.0.0.1:10911"}, []string{"history.listen: 127.0.0.1:10911 is what broker.listen listens on", "flag"}},
		{"one within another", "", nil, []string{"--history.listen=0.0.0.0:10911"}, []string{"history.listen", "broker.listen"}},
		{"bad size", "hot:\n  segment: lots\n", nil, nil, []string{"hot.segment", "hot.segment: amount", "want a form like"}},
		{"bad duration", "connector:\n  roll-age: soon\n", nil, nil, []string{"connector.roll-age"}},
		{"bad unit", "", nil, []string{"--hot.keep-for=7y"}, []string{"hot.keep-for", `"7y"`, "units are w, d, h, m, s"}},
		{"no unit", "hot:\n  keep-for: 7\n", nil, nil, []string{"hot.keep-for", `"7"`, "units are"}},
		{"heap too small", "", nil, []string{"--memory.limit=1"}, []string{"memory.limit", "1 is not between 64MiB and 16TiB"}},
		{"out of bounds", "hot:\n  segment: 1MiB\n", nil, nil, []string{"hot.segment", "between"}},
		{"no reserve", "", nil, []string{"--hot.min-free=0"}, []string{"hot.min-free", "0 is not between 16MiB"}},
		{"role", "", nil, []string{"--roles=route,brokr"}, []string{"roles", "brokr"}},
		{"address", "", nil, []string{"--http.listen=8082"}, []string{"http.listen", "host:port"}},
		{"s3", "archive:\n  kind: s3\n", nil, nil, []string{"archive.s3.endpoint"}},
		{"not yaml", "hot: [", nil, nil, []string{"varve.yaml"}},
		{"scalar for a group", "hot: 3\n", nil, nil, []string{"hot", "unknown"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.yaml, c.env, c.args)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q lacks %q", err, w)
				}
			}
		})
	}
}

// TestOneAddressOfTwoRoles: an address that isn't listened on is nobody's, and a
// free port is another one each time.
func TestOneAddressOfTwoRoles(t *testing.T) {
	for _, args := range [][]string{
		{"--roles=route,broker", "--history.listen=127.0.0.1:10911"},
		{"--http.listen=127.0.0.1:0", "--grpc.listen=127.0.0.1:0"},
		{"--http.listen=127.0.0.2:10911"},
		{"--broker.name=mq-1.example.com", "--cluster=A_b"},
	} {
		if _, err := load(t, "", nil, args); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestDaysAndWeeks(t *testing.T) {
	l, err := load(t, "retention:\n  interval: 1d12h\n", []string{"VARVE_CONNECTOR_ROLL_AGE_MAX=2w"}, []string{"--hot.keep-for=7d", "--memory.limit=0"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Hot.KeepFor != 7*24*time.Hour || l.Connector.RollAgeMax != 14*24*time.Hour || l.Retention.Interval != 36*time.Hour {
		t.Errorf("got %v %v %v", l.Hot.KeepFor, l.Connector.RollAgeMax, l.Retention.Interval)
	}
}

func TestSecretIsNotShown(t *testing.T) {
	l, err := load(t, "", []string{"VARVE_ARCHIVE_S3_SECRET_KEY=hush"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range l.Values {
		if strings.Contains(v.Value, "hush") {
			t.Errorf("%s shows the secret", v.Key)
		}
	}
	if l.Archive.S3.SecretKey != "hush" {
		t.Error("secret not loaded")
	}
}
