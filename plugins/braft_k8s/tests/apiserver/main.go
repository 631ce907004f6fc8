// A Kubernetes API server for tests: the real one, and nothing else of a cluster.
//
// docs/kubernetes.md describes how to build it: into the user's cache, never into the tree.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
