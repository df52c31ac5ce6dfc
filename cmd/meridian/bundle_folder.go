package main

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"meridian/instance/crm"
)

// bundleFiles are the paths in a bundle's folder and the folders in it, with
// the kind of each. Names that begin with a dot are not part of it, and neither
// are the copies editors leave behind.
func bundleFiles(dir string) (kinds map[string]fs.FileMode, err error) {
	if dir, err = filepath.EvalSymlinks(dir); err != nil { // the folder was named; what is in it was not
		return nil, err
	}
	kinds = map[string]fs.FileMode{}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		hidden := path != dir && (strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), "~"))
		switch {
		case err != nil:
			return err
		case hidden && d.IsDir():
			return fs.SkipDir
		case hidden || d.IsDir():
			return nil
		}
		name, err := filepath.Rel(dir, path)
		kinds[filepath.ToSlash(name)] = d.Type()
		return err
	})
	return kinds, err
}

// readFiles reads a bundle's folder and the folders in it: .rego files and
// personas.json. Another file is refused, because a rule in it would be believed
// to be in force; so is what is no file of its own, because a link shows what
// lies elsewhere, and a pipe never ends.
func readFiles(dir string) (map[string]string, error) {
	kinds, err := bundleFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(kinds) == 0 {
		return nil, crm.FieldErrorf("dir", "%s holds no .rego file; meridian policy edit FOLDER writes the bundle in force into a folder that is not there yet", dir)
	}
	files := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		if err := ownFile(name, kinds[name]); err != nil {
			return nil, err
		}
		if path.Ext(name) != ".rego" && name != "personas.json" {
			return nil, crm.FieldErrorf(name, "is no file of a bundle, which holds .rego files and personas.json: rename it, or take it out of %s", dir)
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		files[name] = string(text)
	}
	return files, nil
}

// ownFile refuses what is not a file with contents of its own.
func ownFile(name string, kind fs.FileMode) error {
	switch {
	case kind.IsRegular():
		return nil
	case kind&fs.ModeSymlink != 0:
		return crm.FieldErrorf(name, "is a link to somewhere else, and a bundle is what lies in its folder: put a copy of the file in its place")
	case kind&fs.ModeNamedPipe != 0:
		return crm.FieldErrorf(name, "is a pipe and no file: take it out")
	}
	return crm.FieldErrorf(name, "is a device or a socket and no file: take it out")
}

// baseOf is the bundle that a folder was made from, "" if it does not say.
func baseOf(dir string) (string, error) {
	at := filepath.Join(dir, baseFile)
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = ownFile(baseFile, info.Mode().Type())
	}
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(at)
	return strings.TrimSpace(string(text)), err
}
