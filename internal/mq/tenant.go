package mq

import "bytes"

// WithoutTenant gives records as clients see them that keep their tenant beside
// all names: topic, the topic of a retry and the producer group are without it.
// The records are given back as they are where none names the tenant.
func WithoutTenant(records []byte, tenant string) []byte {
	if tenant == "" {
		return records
	}
	out, changed, done := []byte(nil), false, 0
	for rec := range Records(records) {
		m, named := withoutTenant(rec, tenant)
		if named && !changed {
			out, changed = append(make([]byte, 0, len(records)), records[:done]...), true
		}
		switch {
		case named:
			out = AppendRecordCRC(out, &m, rec.BodyCRC())
		case changed:
			out = append(out, rec...)
		}
		done += len(rec)
	}
	if !changed {
		return records
	}
	return append(out, records[done:]...)
}

// withoutTenant decodes a record and takes the tenant out of its names; named is
// false where it isn't in any.
func withoutTenant(rec Record, tenant string) (m Message, named bool) {
	if !bytes.Contains(rec.Topic(), []byte(tenant)) && !bytes.Contains(rec.Properties(), []byte(tenant)) {
		return m, false
	}
	m, err := rec.Decode()
	if err != nil {
		return m, false // the client finds out
	}
	strip := func(name string) string {
		if of, local := SplitTenant(name); of == tenant && local != name {
			named = true
			return local
		}
		return name
	}
	m.Topic = strip(m.Topic)
	for _, prop := range []string{PropRetryTopic, PropProducerGroup} {
		if v, ok := Property(m.Properties, prop); ok {
			if local := strip(string(v)); local != string(v) {
				m.Properties = SetProperty(m.Properties, prop, local)
			}
		}
	}
	return m, named
}

// InTenant is JoinTenant for a name that may have the tenant already.
func InTenant(tenant, name string) string {
	if of, local := SplitTenant(name); of == tenant && local != name {
		return name
	}
	return JoinTenant(tenant, name)
}
