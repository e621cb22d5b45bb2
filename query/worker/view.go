package worker

import (
	"strings"

	"varve/query/wire"
)

// The columns of every table: the archive's row (docs/format), with the topic
// before it and views of the key and the body behind it. docs/sql.md describes
// them to users.
var rowColumns = []struct{ name, typ string }{
	{"broker", "VARCHAR"},
	{"queue_id", "INTEGER"},
	{"queue_offset", "BIGINT"},
	{"store_time", "TIMESTAMP WITH TIME ZONE"},
	{"born_time", "TIMESTAMP WITH TIME ZONE"},
	{"msg_id", "VARCHAR"},
	{"keys", "VARCHAR[]"},
	{"tag", "VARCHAR"},
	{"properties", "MAP(VARCHAR, VARCHAR)"},
	{"body", "BLOB"},
	{"reconsume_times", "INTEGER"},
	{"sys_flag", "INTEGER"},
	{"flag", "INTEGER"},
	{"body_crc", "INTEGER"},
	{"born_host", "VARCHAR"},
	{"store_host", "VARCHAR"},
	{"physical_offset", "BIGINT"},
	{"prepared_transaction_offset", "BIGINT"},
	{"body_encoding", "VARCHAR"},
	{"erased_hash", "BLOB"},
}

// viewSQL is the query behind a table's view.
func viewSQL(t wire.Table) string {
	var b strings.Builder
	b.WriteString("SELECT " + literal(t.Topic) + " AS topic, ")
	for _, c := range rowColumns {
		b.WriteString(c.name + ", ")
	}
	b.WriteString("keys[1] AS key, TRY(decode(body)) AS body_text, TRY_CAST(TRY(decode(body)) AS JSON) AS body_json FROM ")
	if len(t.Files) == 0 {
		b.WriteString("(SELECT ")
		for i, c := range rowColumns {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString("NULL::" + c.typ + " AS " + c.name)
		}
		b.WriteString(" WHERE false)")
		return b.String()
	}
	b.WriteString("read_parquet([")
	for i, f := range t.Files {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(literal(f))
	}
	b.WriteString("], hive_partitioning = false)")
	return b.String()
}
