package route

import (
	"encoding/json"
	"fmt"
	"strings"

	"varve/internal/remoting"
)

// Limits of one pair.
const (
	maxKVName  = 255
	maxKVValue = 64 << 10
)

// kvSeparator parts a namespace from a key.
const kvSeparator = "\x00"

// kvTable is the body of a namespace's listing.
type kvTable struct {
	Table map[string]string `json:"table"`
}

func (t *Table) kvGet(namespace, key string) (value string, ok bool, err error) {
	if t.cfg.KV == nil {
		return "", false, nil
	}
	ok, err = t.cfg.KV.Get(namespace+kvSeparator+key, &value)
	if err != nil {
		return "", false, fmt.Errorf("read %s/%s: %w", namespace, key, err)
	}
	return value, ok, nil
}

func (t *Table) kvList(namespace string) (map[string]string, error) {
	out := make(map[string]string)
	if t.cfg.KV == nil {
		return out, nil
	}
	prefix := namespace + kvSeparator
	err := t.cfg.KV.Scan(prefix, func(key string, raw []byte) error {
		var v string
		if err := json.Unmarshal(raw, &v); err != nil {
			return err
		}
		out[strings.TrimPrefix(key, prefix)] = v
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read namespace %s: %w", namespace, err)
	}
	return out, nil
}

func kvNames(req *remoting.Command) (namespace, key string, err error) {
	p := req.Ext.Parse()
	namespace, key = p.Str("namespace"), p.Str("key")
	if err := p.Err(); err != nil {
		return "", "", err
	}
	if len(namespace) > maxKVName || len(key) > maxKVName {
		return "", "", refuse(remoting.InvalidParameter, "namespace or key is over the limit of %d bytes", maxKVName)
	}
	if strings.Contains(namespace, kvSeparator) || strings.Contains(key, kvSeparator) {
		return "", "", refuse(remoting.InvalidParameter, "namespace or key contains a zero byte")
	}
	return namespace, key, nil
}

// putKV: 100 PUT_KV_CONFIG.
func (t *Table) putKV(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	namespace, key, err := kvNames(req)
	if err != nil {
		return nil, err
	}
	if t.cfg.KV == nil {
		return nil, refuse(remoting.SystemError, "this name server keeps no configuration")
	}
	value := req.Ext.Get("value")
	if len(value) > maxKVValue {
		return nil, refuse(remoting.InvalidParameter, "value of %d bytes is over the limit of %d", len(value), maxKVValue)
	}
	if err := t.cfg.KV.Put(namespace+kvSeparator+key, value); err != nil {
		return nil, err
	}
	return &remoting.Command{}, nil
}

// getKV: 101 GET_KV_CONFIG.
func (t *Table) getKV(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	namespace, key, err := kvNames(req)
	if err != nil {
		return nil, err
	}
	v, ok, err := t.kvGet(namespace, key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, refuse(remoting.QueryNotFound, "No config item, Namespace: %s Key: %s", namespace, key)
	}
	resp := &remoting.Command{}
	resp.Ext.Set("value", v)
	return resp, nil
}

// deleteKV: 102 DELETE_KV_CONFIG.
func (t *Table) deleteKV(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	namespace, key, err := kvNames(req)
	if err != nil {
		return nil, err
	}
	if t.cfg.KV == nil {
		return nil, refuse(remoting.SystemError, "this name server keeps no configuration")
	}
	if err := t.cfg.KV.Delete(namespace + kvSeparator + key); err != nil {
		return nil, err
	}
	return &remoting.Command{}, nil
}

// listKV: 219 GET_KVLIST_BY_NAMESPACE.
func (t *Table) listKV(_ *remoting.Conn, req *remoting.Command) (*remoting.Command, error) {
	p := req.Ext.Parse()
	namespace := p.Str("namespace")
	if err := p.Err(); err != nil {
		return nil, err
	}
	table, err := t.kvList(namespace)
	if err != nil {
		return nil, err
	}
	if len(table) == 0 {
		return nil, refuse(remoting.QueryNotFound, "No config item, Namespace: %s", namespace)
	}
	return withJSON(kvTable{table})
}
