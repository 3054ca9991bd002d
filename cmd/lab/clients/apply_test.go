package clients

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME}
data: {kept: "1", gone: "2"}
`

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, labels: {app: NAME}}
spec:
  replicas: 2
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: httpd
        image: busybox:1
        command: [sh, -c, "mkdir -p /tmp/www; hostname >/tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 10m, memory: 16Mi}}
`

// applyScenes change objects by saying how they shall be.
func applyScenes() []scene {
	return []scene{
		{"apply, client side", func(a *actor) {
			a.file("c.yaml", named(settings, "applied"))
			a.ok("kubectl apply -f c.yaml", `^configmap/applied created$`)
			a.ok("kubectl apply -f c.yaml", `^configmap/applied unchanged$`)
			a.ok(`kubectl patch configmap applied --type=merge -p '{"data":{"others":"3"}}'`, `configmap/applied patched`)
			a.ok(`sed -i 's/, gone: "2"//; s/"1"/"11"/' c.yaml && kubectl apply -f c.yaml`, `^configmap/applied configured$`)
			a.ok("kubectl get configmap applied -o jsonpath='{.data}'", `"kept":"11"`, `"others":"3"`, `!gone`)
			a.ok("kubectl apply view-last-applied configmap/applied", `kept: "11"`)
		}},
		{"apply, server side, and a conflict", func(a *actor) {
			a.file("c.yaml", named(settings, "owned"))
			a.ok("kubectl apply --server-side -f c.yaml", `^configmap/owned serverside-applied$`)
			a.ok(`sed -i 's/"1"/"other"/' c.yaml`)
			a.code(1, "kubectl apply --server-side --field-manager=other -f c.yaml", `conflict`, `"kubectl"`, `\.data\.kept`, `--force-conflicts`)
			a.ok("kubectl get configmap owned -o jsonpath='{.data.kept}'", `^1$`)
			a.ok("kubectl apply --server-side --field-manager=other --force-conflicts -f c.yaml", `serverside-applied`)
			a.ok("kubectl get configmap owned -o jsonpath='{.data.kept}'", `^other$`)
			a.ok(`kubectl get configmap owned --show-managed-fields -o jsonpath='{range .metadata.managedFields[*]}{.manager}:{.operation} {end}'`, `kubectl:Apply`, `other:Apply`)
			a.file("less.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: owned}\ndata: {kept: other}\n")
			a.ok("kubectl apply --server-side --field-manager=other -f less.yaml && kubectl apply --server-side -f less.yaml")
			a.ok("kubectl get configmap owned -o jsonpath='{.data}'", `!gone`)
		}},
		{"apply of a deployment that a scaler owns in part", func(a *actor) {
			a.file("d.yaml", named(web, "shared"))
			a.ok("kubectl apply --server-side -f d.yaml", `deployment.apps/shared serverside-applied`)
			a.ok("kubectl rollout status deployment/shared --timeout=60s")
			a.ok("kubectl scale deployment/shared --replicas=1", `deployment.apps/shared scaled`)
			a.code(1, "kubectl apply --server-side -f d.yaml", `conflict`, `\.spec\.replicas`)
			a.ok("sed -i '/replicas:/d' d.yaml && kubectl apply --server-side -f d.yaml", `serverside-applied`)
			a.ok("kubectl get deployment shared -o jsonpath='{.spec.replicas}'", `^1$`)
			a.ok("kubectl delete -f d.yaml --wait=false")
		}},
		{"dry runs change nothing", func(a *actor) {
			a.file("c.yaml", named(settings, "dry"))
			a.ok("kubectl apply --dry-run=server -f c.yaml", `created \(server dry run\)`)
			a.ok("kubectl apply --server-side --dry-run=server -f c.yaml", `serverside-applied \(server dry run\)`)
			a.ok("kubectl create deployment dry --image=busybox:1 --dry-run=client -o yaml", `^kind: Deployment$`)
			a.no("kubectl get configmap dry", `NotFound`)
		}},
		{"diff", func(a *actor) {
			a.file("c.yaml", named(settings, "differs"))
			a.code(1, "kubectl diff -f c.yaml", `^\+kind: ConfigMap$`)
			a.ok("kubectl apply -f c.yaml")
			a.code(0, "kubectl diff -f c.yaml", `\A\z`)
			a.code(1, `sed -i 's/"1"/"one"/' c.yaml; kubectl diff -f c.yaml`, `^-  kept: "1"$`, `^\+  kept: one$`)
			a.code(1, "kubectl diff --server-side --force-conflicts -f c.yaml", `^\+  kept: one$`)
			a.ok("kubectl get configmap differs -o jsonpath='{.data.kept}'", `^1$`)
		}},
		{"replace needs the version that it was made from", func(a *actor) {
			a.file("c.yaml", named(settings, "replaced"))
			a.ok("kubectl create -f c.yaml", `configmap/replaced created`)
			a.ok("kubectl get configmap replaced -o yaml >old.yaml; kubectl label configmap replaced seen=yes")
			a.code(1, "kubectl replace -f old.yaml", `\(Conflict\)`, `the object has been modified; please apply your changes to the latest version`)
			a.ok("kubectl replace -f c.yaml", `configmap/replaced replaced`)
			a.ok("kubectl get configmap replaced --show-labels", `<none>`)
		}},
		{"kustomize and whole directories", func(a *actor) {
			a.file("kustomization.yaml", "namePrefix: k-\nresources: [c.yaml]\nconfigMapGenerator: [{name: made, literals: [a=b]}]\n")
			a.file("c.yaml", named(settings, "plain"))
			a.ok("kubectl apply -k .", `configmap/k-plain created`, `configmap/k-made-\w+ created`)
			a.ok("mkdir many && cp c.yaml many/ && sed 's/plain/fancy/' c.yaml >many/d.yaml && kubectl apply -f many", `configmap/plain created`, `configmap/fancy created`)
			a.ok("kubectl delete -k .", `configmap "k-plain" deleted`)
		}},
		{"what one host took every host gives", func(a *actor) {
			a.file("c.yaml", named(settings, "everywhere"))
			a.ok("kubectl apply -f c.yaml")
			for _, h := range []string{"c1", "c2", "c3"} {
				out, err := a.mesh.Kubectl(a.ctx, h, "-n", a.namespace(), "wait", "--for=create", "configmap/everywhere", "--timeout=5s")
				if err != nil {
					a.t.Errorf("%s: %v %s", h, err, out)
				}
			}
		}},
	}
}

// editScenes change a part of an object.
func editScenes() []scene {
	return []scene{
		{"label and annotate", func(a *actor) {
			a.ok("kubectl create configmap marked")
			a.ok("kubectl label configmap marked tier=one", `configmap/marked labeled`)
			a.code(1, "kubectl label configmap marked tier=two", `'tier' already has a value \(one\), and --overwrite is false`)
			a.ok("kubectl label configmap marked tier=two --overwrite", `labeled`)
			a.ok("kubectl get configmaps -l tier=two -o name", `^configmap/marked$`)
			a.ok("kubectl label configmap marked tier-", `unlabeled`)
			a.ok("kubectl annotate configmap marked note='a b'", `annotated`)
			a.ok("kubectl get configmap marked -o jsonpath='{.metadata.annotations.note}|{.metadata.labels}'", `^a b\|$`)
			a.no("kubectl label configmap marked 'tier=not valid!'", `a valid label must be`)
		}},
		{"patch: strategic, merge and json", func(a *actor) {
			a.apply("d", named(web, "patched"))
			a.ok(`kubectl patch deployment patched -p '{"spec":{"template":{"spec":{"containers":[{"name":"httpd","env":[{"name":"A","value":"b"}]}]}}}}'`, `deployment.apps/patched patched`)
			a.ok("kubectl get deployment patched -o jsonpath='{.spec.template.spec.containers[*].image} {.spec.template.spec.containers[0].env[0].name}'", `^busybox:1 A$`)
			a.ok(`kubectl patch deployment patched --type=merge -p '{"spec":{"replicas":1},"metadata":{"labels":{"app":null}}}'`, `patched`)
			a.ok("kubectl get deployment patched -o jsonpath='{.spec.replicas}|{.metadata.labels}'", `^1\|$`)
			a.ok(`kubectl patch deployment patched --type=json -p '[{"op":"test","path":"/spec/replicas","value":1},{"op":"replace","path":"/spec/replicas","value":0}]'`, `patched`)
			a.no(`kubectl patch deployment patched --type=json -p '[{"op":"test","path":"/spec/replicas","value":7},{"op":"replace","path":"/spec/replicas","value":3}]'`, `The request is invalid`)
			a.ok(`kubectl patch deployment patched -p '{"spec":{"replicas":0}}'`, `patched \(no change\)`)
			a.ok(`kubectl patch deployment patched --subresource=scale --type=merge -p '{"spec":{"replicas":1}}'`, `patched`)
			a.ok("kubectl get deployment patched --subresource=scale -o jsonpath='{.kind} {.spec.replicas}'", `^Scale 1$`)
			a.ok("kubectl delete deployment patched --wait=false")
		}},
		{"edit", func(a *actor) {
			a.file("c.yaml", named(settings, "edited"))
			a.ok("kubectl apply -f c.yaml")
			a.ok(`KUBE_EDITOR="sed -i s/kept:.*/kept:\ ninety/" kubectl edit configmap edited`, `configmap/edited edited`)
			a.ok("kubectl get configmap edited -o jsonpath='{.data.kept}'", `^ninety$`)
			a.ok(`KUBE_EDITOR=true kubectl edit configmap edited`, `Edit cancelled, no changes made`)
			a.ok(`KUBE_EDITOR="sed -i s/ninety/hundred/" kubectl edit configmap edited -o json`, `edited`)
			a.no(`KUBE_EDITOR="sed -i s/^kind:.*/kind:\ Nonsense/" kubectl edit configmap edited`, `no matches for kind "Nonsense"|no valid changes|invalid`)
			a.ok("kubectl get configmap edited -o jsonpath='{.data.kept}'", `^hundred$`)
		}},
		{"set env, image, resources and service account", func(a *actor) {
			a.apply("d", named(web, "altered"))
			a.ok("kubectl set env deployment/altered COLOR=green", `deployment.apps/altered env updated`)
			a.ok("kubectl set env deployment/altered --list", `^COLOR=green$`)
			a.ok("kubectl set resources deployment/altered --limits=memory=64Mi", `resource requirements updated`)
			a.ok("kubectl set image deployment/altered httpd=busybox:2", `image updated`)
			a.ok("kubectl create serviceaccount servant && kubectl set serviceaccount deployment/altered servant", `serviceaccount updated`)
			a.no("kubectl set image deployment/altered nobody=busybox:2", `unable to find container named "nobody"`)
			a.ok("kubectl rollout status deployment/altered --timeout=60s", `successfully rolled out`)
			a.ok("kubectl exec deployment/altered -- sh -c 'echo $COLOR'", `^green$`)
			a.soon("kubectl get pods -l app=altered -o jsonpath='{.items[*].spec.serviceAccountName} {.items[*].spec.containers[0].image}'", `^servant servant busybox:2 busybox:2$`)
			a.ok("kubectl delete deployment altered --wait=false")
		}},
	}
}
