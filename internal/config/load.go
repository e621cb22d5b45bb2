package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"varve/internal/units"
)

// EnvPrefix starts every environment variable that is a setting.
const EnvPrefix = "VARVE_"

// EnvFile names the YAML file where no --config flag does.
const EnvFile = "VARVE_CONFIG"

// Value is one effective setting.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Source string `json:"source"`
	Help   string `json:"help"`
}

// Loaded is a checked configuration and where it came from.
type Loaded struct {
	Config
	Values []Value // in the order of Config's fields
}

// field is one leaf of Config.
type field struct {
	key, help string
	index     []int
	kind      reflect.Type
}

// fields lists the leaves of Config in order.
func fields() []field {
	var out []field
	var walk func(t reflect.Type, prefix string, index []int)
	walk = func(t reflect.Type, prefix string, index []int) {
		for i := range t.NumField() {
			f := t.Field(i)
			at := append(append([]int(nil), index...), i)
			key := prefix + f.Tag.Get("koanf")
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, key+".", at)
				continue
			}
			out = append(out, field{key, f.Tag.Get("help"), at, f.Type})
		}
	}
	walk(reflect.TypeFor[Config](), "", nil)
	return out
}

// Flags adds one flag a setting. Those of components stay out of the short
// help; `varve config` lists them all.
func Flags(set *pflag.FlagSet) {
	def := Default()
	v := reflect.ValueOf(def)
	for _, f := range fields() {
		help := f.help
		if d := text(v.FieldByIndex(f.index)); d != "" {
			help += " (default " + d + ")"
		}
		if f.kind.Kind() == reflect.Bool {
			set.VarPF(new(boolText), f.key, "", help).NoOptDefVal = "true"
		} else {
			set.String(f.key, "", help)
		}
		set.Lookup(f.key).DefValue = ""
		if strings.Contains(f.key, ".") {
			_ = set.MarkHidden(f.key)
		}
	}
}

// boolText is the flag of a setting that is true or false. It takes any text, for
// the settings are checked together, and has no type to name: the help has it as
// --restore[=true].
type boolText string

func (b *boolText) String() string     { return string(*b) }
func (b *boolText) Set(s string) error { *b = boolText(s); return nil }
func (b *boolText) Type() string       { return "" }

// Load merges defaults, the YAML file (none where path is empty), the
// environment (as of os.Environ) and the flags that were set.
func Load(path string, environ []string, flags *pflag.FlagSet) (*Loaded, error) {
	return LoadOver(Default(), path, environ, flags)
}

// LoadOver is Load with other defaults.
func LoadOver(defaults Config, path string, environ []string, flags *pflag.FlagSet) (*Loaded, error) {
	all := fields()
	known := map[string]field{}
	byEnv := map[string]string{}
	for _, f := range all {
		known[f.key] = f
		byEnv[envName(f.key)] = f.key
	}
	merged, sources := koanf.New("."), map[string]string{}
	add := func(layer *koanf.Koanf, source func(key string) string) error {
		for _, key := range layer.Keys() {
			if _, ok := known[key]; !ok {
				return unknown(source(key), key, keysOf(known))
			}
			sources[key] = source(key)
		}
		return merged.Merge(layer)
	}
	if path != "" {
		layer := koanf.New(".")
		if err := layer.Load(file.Provider(path), yaml.Parser()); err != nil {
			return nil, &Error{Key: "configuration file " + path, Reason: reason(err)}
		}
		if err := add(layer, func(string) string { return "file " + path }); err != nil {
			return nil, err
		}
	}
	if err := addEnv(environ, byEnv, add); err != nil {
		return nil, err
	}
	if flags != nil {
		layer := koanf.New(".")
		own := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.VisitAll(func(f *pflag.Flag) {
			if _, ok := known[f.Name]; ok && f.Changed {
				own.AddFlag(f)
			}
		})
		if err := layer.Load(posflag.Provider(own, ".", layer), nil); err != nil {
			return nil, fmt.Errorf("flags: %w", err)
		}
		if err := add(layer, func(key string) string { return "flag --" + key }); err != nil {
			return nil, err
		}
	}
	out := &Loaded{Config: defaults}
	if err := decode(merged, sources, &out.Config); err != nil {
		return nil, err
	}
	out.describe(all, sources)
	if err := out.check(sources); err != nil {
		return nil, err
	}
	return out, nil
}

// addEnv adds the variables as one layer.
func addEnv(environ []string, byEnv map[string]string, add func(*koanf.Koanf, func(string) string) error) error {
	names := map[string]string{} // key → variable
	layer := koanf.New(".")
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || name == EnvFile {
			continue
		}
		key, ok := byEnv[name]
		if !ok {
			return unknown("environment", name, envNames(byEnv))
		}
		names[key] = name
	}
	provider := env.ProviderWithValue(EnvPrefix, ".", func(name, value string) (string, any) {
		if _, ok := names[byEnv[name]]; !ok {
			return "", nil
		}
		return byEnv[name], value
	})
	if err := layer.Load(provider, nil); err != nil {
		return fmt.Errorf("environment: %w", err)
	}
	return add(layer, func(key string) string { return "environment " + names[key] })
}

func decode(k *koanf.Koanf, sources map[string]string, into *Config) error {
	var meta mapstructure.Metadata
	dec, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		TagName: "koanf", Result: into, WeaklyTypedInput: true, Metadata: &meta, ZeroFields: true,
		DecodeHook: mapstructure.ComposeDecodeHookFunc(
			spanToDuration,
			mapstructure.TextUnmarshallerHookFunc(),
			numberToBytes,
			mapstructure.StringToSliceHookFunc(","),
		),
	})
	if err != nil {
		return err
	}
	// Key by key, so that an error names its key and source.
	for _, key := range k.Keys() {
		one := koanf.New(".")
		if err := one.Set(key, k.Get(key)); err != nil {
			return err
		}
		if err := dec.Decode(one.Raw()); err != nil {
			return &Error{Key: key, Source: sources[key], Reason: strings.TrimPrefix(reason(err), "'"+key+"' ")}
		}
	}
	return nil
}

// spanToDuration reads a time span with its unit; a bare number would be taken
// for nanoseconds.
func spanToDuration(_, to reflect.Type, v any) (any, error) {
	if to != reflect.TypeFor[time.Duration]() {
		return v, nil
	}
	d, err := units.ParseDuration(fmt.Sprint(v))
	return time.Duration(d), err
}

func numberToBytes(from, to reflect.Type, v any) (any, error) {
	if to != reflect.TypeFor[Bytes]() {
		return v, nil
	}
	return units.ParseBytes(fmt.Sprint(v))
}

func reason(err error) string {
	var inner error = err
	for errors.Unwrap(inner) != nil {
		inner = errors.Unwrap(inner)
	}
	s := inner.Error()
	if i := strings.LastIndex(s, "\n"); i >= 0 {
		s = s[i+1:]
	}
	return s
}

func (l *Loaded) describe(all []field, sources map[string]string) {
	v := reflect.ValueOf(l.Config)
	for _, f := range all {
		val, src := text(v.FieldByIndex(f.index)), sources[f.key]
		if src == "" {
			src = "default"
		}
		if strings.HasSuffix(f.key, "secret-key") && val != "" {
			val = "(set)"
		}
		l.Values = append(l.Values, Value{Key: f.key, Value: val, Source: src, Help: f.help})
	}
}

func text(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case []string:
		return strings.Join(x, ",")
	case time.Duration:
		return x.String()
	default:
		return fmt.Sprint(x)
	}
}

func envName(key string) string {
	return EnvPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

func keysOf(m map[string]field) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func envNames(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// FileFromEnv is the YAML file that the environment names, "" for none.
func FileFromEnv() string { return os.Getenv(EnvFile) }

// Peek gives what the YAML file (none where path is empty) and the environment
// say of one setting, "" where neither does. It looks at no other, so that who
// asks a server needn't have all that the server has.
func Peek(path, key string) (string, error) {
	if v := os.Getenv(envName(key)); v != "" || path == "" {
		return v, nil
	}
	layer := koanf.New(".")
	if err := layer.Load(file.Provider(path), yaml.Parser()); err != nil {
		return "", &Error{Key: "configuration file " + path, Reason: reason(err)}
	}
	return layer.String(key), nil
}
