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

// deletionColumns are those of the table of what retention removed, as its lines
// have them; times are milliseconds there.
var deletionColumns = []struct{ name, typ string }{
	{"deleted_at", timeColumn},
	{"topic", "VARCHAR"},
	{"broker", "VARCHAR"},
	{"queue_id", "INTEGER"},
	{"from_offset", "BIGINT"},
	{"to_offset", "BIGINT"},
	{"messages", "BIGINT"},
	{"bytes", "BIGINT"},
	{"first_store_time", timeColumn},
	{"last_store_time", timeColumn},
	{"rule", "VARCHAR"},
	{"cause", "VARCHAR"},
	{"file", "VARCHAR"},
	{"record", "VARCHAR"},
	{"digest", "VARCHAR"},
	{"signed_by", "VARCHAR"},
	{"removed_at", timeColumn},
}

const timeColumn = "TIMESTAMP WITH TIME ZONE"

// deletionsSQL is the query behind the view of what retention removed.
func deletionsSQL(t wire.Table) string {
	var list, read []string
	for _, c := range deletionColumns {
		name, typ := identifier(c.name), c.typ
		if typ == timeColumn {
			typ = "BIGINT"
			list = append(list, "to_timestamp("+name+" / 1000) AS "+name)
		} else {
			list = append(list, name)
		}
		read = append(read, literal(c.name)+": "+literal(typ))
	}
	var files []string
	for _, p := range t.Parts {
		for _, f := range p.Files {
			files = append(files, literal(f))
		}
	}
	return "SELECT " + strings.Join(list, ", ") + " FROM read_json([" + strings.Join(files, ", ") + "], format = 'newline_delimited', columns = {" + strings.Join(read, ", ") + "})"
}

// viewSQL is the query behind a table's view.
func viewSQL(t wire.Table) string {
	if t.Deletions {
		return deletionsSQL(t)
	}
	var b strings.Builder
	b.WriteString("SELECT " + literal(t.Topic) + " AS topic, ")
	for _, c := range rowColumns {
		b.WriteString(c.name + ", ")
	}
	b.WriteString("keys[1] AS key, TRY(decode(body)) AS body_text, TRY_CAST(TRY(decode(body)) AS JSON) AS body_json")
	for _, c := range t.Typed {
		b.WriteString(", " + identifier(c.Name))
	}
	b.WriteString(" FROM ")
	switch {
	case len(t.Parts) == 0:
		var list []string
		for _, c := range rowColumns {
			list = append(list, "NULL::"+c.typ+" AS "+c.name)
		}
		for _, c := range t.Typed {
			list = append(list, "NULL::"+c.Type+" AS "+identifier(c.Name))
		}
		b.WriteString("(SELECT " + strings.Join(list, ", ") + " WHERE false)")
	case len(t.Typed) == 0:
		b.WriteString(filesSQL(t.Parts[0].Files))
	default:
		b.WriteString("(")
		for i, p := range t.Parts {
			if i > 0 {
				b.WriteString(" UNION ALL ")
			}
			var list []string
			for _, c := range rowColumns {
				list = append(list, c.name)
			}
			for j, c := range t.Typed {
				list = append(list, p.Typed[j]+" AS "+identifier(c.Name))
			}
			b.WriteString("SELECT " + strings.Join(list, ", ") + " FROM " + filesSQL(p.Files))
		}
		b.WriteString(")")
	}
	return b.String()
}

func filesSQL(files []string) string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = literal(f)
	}
	return "read_parquet([" + strings.Join(names, ", ") + "], hive_partitioning = false)"
}
