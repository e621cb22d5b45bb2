package worker

import (
	"reflect"
	"strings"
	"testing"

	"varve/query/wire"
)

// TestColumnsOf: what a query can read, and all where that is not sure.
func TestColumnsOf(t *testing.T) {
	s, err := openSession(t.Context(), wire.Hello{Tenant: "default", Dir: t.TempDir(), Limits: wire.Limits{MemoryBytes: 100 << 20, SpillBytes: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	all := []string(nil)
	for sql, want := range map[string][]string{
		"select count(*) from t":                                   {},
		"select Tag, count(*) from t group by 1":                   {"tag"},
		"select t.body_text, key from t":                           {"body", "keys"},
		"select tag as x from t where queue_id = 1":                {"queue_id", "tag"},
		"with c as (select msg_id from t) select msg_id from c":    {"msg_id"},
		"select a.tag from t a join t b using (queue_offset)":      {"queue_offset", "tag"},
		"select topic from t order by all":                         all,
		"select (select max(flag) from t) from t":                  {"flag"},
		"select unnest(properties) from t":                         {"properties"},
		"select * from t":                                          all,
		"from t":                                                   all,
		"table t":                                                  all,
		"select t.* exclude (body) from t":                         all,
		"select columns('b.*') from t":                             all,
		"select t from t":                                          all,
		"select x from t x":                                        all,
		"select to_json(X) from t as x":                            all,
		"select \"default\".t from t":                              all,
		"select #2 from t":                                         all,
		"select b from t x(a, b)":                                  all,
		"with c(a, b) as (from t) select b from c":                 all,
		"select a.tag from t a natural join t b":                   all,
		"summarize t":                                              all,
		"unpivot t on queue_id, flag into name n value v":          all,
		"select count(*) from (select distinct on (tag) * from t)": all,
		"select count(distinct t) from t":                          all,
		"select hash(sub) from (select tag from t) sub":            {"tag"},
	} {
		st, err := s.statements(t.Context(), sql)
		if err != nil || len(st) != 1 {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got, _ := columnsOf(st[0]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: reads %#v, want %#v", sql, got, want)
		}
	}
}

// TestDeepQuery: nobody is told to change a setting that can't be changed.
func TestDeepQuery(t *testing.T) {
	s, err := openSession(t.Context(), wire.Hello{
		Tenant: "default", Dir: t.TempDir(), Limits: wire.Limits{MemoryBytes: 100 << 20, SpillBytes: 1 << 20},
		SQL: "select " + strings.Repeat("(1+", 3000) + "1" + strings.Repeat(")", 3000),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.analyse(t.Context()); err == nil || !strings.Contains(err.Error(), "nested too deeply") || strings.Contains(asError(err).Message, "SET") {
		t.Errorf("got %v", err)
	}
}
