package clients

// refusalScenes are input that must be refused with the field and the reason, and must leave nothing behind.
func refusalScenes() []scene {
	return []scene{
		{"malformed YAML", func(a *actor) {
			a.file("bad.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: malformed\n data: {a: b\n")
			a.code(1, "kubectl apply -f bad.yaml", `error parsing bad.yaml: error converting YAML to JSON: yaml: line \d+`)
			a.code(1, "kubectl apply --server-side -f bad.yaml", `error converting YAML to JSON`)
			a.code(1, "printf '{\"kind\":' | kubectl create -f -", `(?i)error`)
			a.code(1, "curl -sk --max-time 10 --fail-with-body -H 'Content-Type: application/yaml' --data-binary @bad.yaml -H \"Authorization: Bearer $(kubectl create token default)\" https://$ADDR:6443/api/v1/namespaces/$NS/configmaps || exit 1", `(?i)forbidden|error converting YAML`)
			a.no("kubectl get configmap malformed", `NotFound`)
		}},
		{"unknown fields", func(a *actor) {
			a.file("bad.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: unknown}\nspec:\n  replica: 2\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: 'busybox:1', imagePullPolice: Never}]}}\n")
			a.code(1, "kubectl apply --validate=strict -f bad.yaml", `strict decoding error: .*unknown field "spec.replica"`, `unknown field "spec.template.spec.containers\[0\].imagePullPolice"`)
			a.code(1, "kubectl apply --server-side --validate=strict -f bad.yaml", `spec.replica`, `(?i)field not declared in schema|unknown field`)
			a.no("kubectl get deployment unknown", `NotFound`)
			a.ok("kubectl apply --validate=warn --dry-run=server -f bad.yaml", `Warning: unknown field "spec.replica"`)
		}},
		{"values that cannot be", func(a *actor) {
			a.file("bad.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: wrong}\nspec:\n  replicas: -1\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: x}}, spec: {containers: [{name: C_, image: 'busybox:1', ports: [{containerPort: 70000}]}]}}\n")
			a.code(1, "kubectl apply -f bad.yaml", `The Deployment "wrong" is invalid`, `spec.replicas: Invalid value: -1`, "`selector` does not match template `labels`",
				`spec.template.spec.containers\[0\].name: Invalid value: "C_"`, `containerPort: Invalid value: 70000`)
			a.code(1, "sed -i 's/replicas: -1/replicas: many/' bad.yaml; kubectl apply -f bad.yaml", `(?i)replicas`)
			a.no("kubectl get deployment wrong", `NotFound`)
			a.code(1, "kubectl create configmap Bad_Name", `metadata.name: Invalid value: "Bad_Name"`)
			a.code(1, "kubectl -n nowhere create configmap lost", `namespaces "nowhere" not found`)
			a.file("many.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good-one}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_One}\n")
			a.code(1, "kubectl apply -f many.yaml", `configmap/good-one created`, `metadata.name: Invalid value: "Bad_One"`)
		}},
		{"what may not change", func(a *actor) {
			a.apply("d", named(web, "fixed"))
			a.code(1, `sed -i 's/matchLabels: {app: fixed}/matchLabels: {app: fixed, x: z}/; s/metadata: {labels: {app: fixed}}/metadata: {labels: {app: fixed, x: z}}/' d.yaml; kubectl apply -f d.yaml`, `spec.selector: Invalid value: .*field is immutable`)
			a.code(1, `kubectl patch pod talker -p '{"spec":{"nodeName":"elsewhere"}}'`, `pod updates may not change fields other than`)
			a.code(1, `kubectl patch service talker -p '{"spec":{"clusterIP":"10.96.77.77"}}'`, `spec.clusterIPs?.*(immutable|may not change)`)
			a.ok("kubectl delete deployment fixed --wait=false")
		}},
		{"objects that are too large", func(a *actor) {
			a.ok("head -c 1500000 /dev/zero | tr '\\0' x >large")
			a.code(1, "kubectl create configmap large --from-file=large", `(?i)too long|too large|limit`)
			a.no("kubectl get configmap large", `NotFound`)
			a.ok(`{ printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: large}\nspec:\n  containers:\n  - name: c\n    image: busybox:1\n    args:\n'; for i in $(seq 1 15); do printf '    - '; head -c 100000 /dev/zero | tr '\0' y; echo; done; } >large.yaml`)
			a.code(1, "kubectl create -f large.yaml", `(?i)too large|limit|1 ?MiB|1048576`)
			a.no("kubectl get pod large", `NotFound`)
			a.ok("head -c 4000000 /dev/zero | tr '\\0' x >huge")
			a.code(1, "kubectl create configmap huge --from-file=huge", `(?i)too long|too large|limit`)
			a.ok("head -c 300000 /dev/zero | tr '\\0' x >wide; kubectl create configmap annotated --from-literal=a=b; kubectl annotate configmap annotated --dry-run=client x=y")
			a.code(1, "kubectl create configmap wide --from-file=wide && kubectl get configmap wide -o yaml >w.yaml && kubectl delete configmap wide && kubectl apply -f w.yaml", `metadata.annotations: Too long: may not be more than 262144 bytes`)
		}},
		{"kinds and versions that are not served", func(a *actor) {
			a.file("v9.yaml", named(web, "future"))
			a.code(1, "sed -i 's,apps/v1,apps/v9,' v9.yaml; kubectl apply -f v9.yaml", `no matches for kind "Deployment" in version "apps/v9"`)
			// Where no CustomResourceDefinitions are served kubectl finds no better words than the second.
			a.code(1, "sed -i 's,apps/v9,apps/v1,; s/kind: Deployment/kind: Deploiment/' v9.yaml; kubectl apply -f v9.yaml", `no matches for kind "Deploiment" in version "apps/v1"|failed to check CRD`)
			a.code(1, "kubectl apply --validate=false -f v9.yaml", `no matches for kind "Deploiment" in version "apps/v1"`)
			a.code(1, "printf 'kind: Pod\\nmetadata: {name: x}\\n' | kubectl create -f -", `apiVersion not set`)
			a.code(1, "kubectl get deployments.v9.apps", `doesn't have a resource type`)
			a.no("kubectl get deployment future", `NotFound`)
		}},
		{"a quota that is used up", func(a *actor) {
			a.ok("kubectl create namespace $NS-tight && kubectl -n $NS-tight create quota tight --hard=pods=1,configmaps=3")
			a.soon("kubectl -n $NS-tight get serviceaccount default")
			a.soon("kubectl -n $NS-tight describe quota tight", `^pods +0 +1$`)
			a.ok("kubectl -n $NS-tight run one --image=busybox:1 -- sleep 100000", `created`)
			a.code(1, "kubectl -n $NS-tight run two --image=busybox:1 -- sleep 100000", `forbidden: exceeded quota: tight, requested: pods=1, used: pods=1, limited: pods=1`)
			a.no("kubectl -n $NS-tight get pod two", `NotFound`)
			a.soon("kubectl -n $NS-tight describe quota tight", `^pods +1 +1$`)
			a.ok("kubectl -n $NS-tight delete pod one --grace-period=1")
			a.soon("kubectl -n $NS-tight run two --image=busybox:1 -- sleep 100000", `created`)
			a.ok("kubectl delete namespace $NS-tight --wait=false")
		}},
		{"limits of a namespace", func(a *actor) {
			a.ok("kubectl create namespace $NS-limits")
			a.soon("kubectl -n $NS-limits get serviceaccount default")
			a.ok("kubectl -n $NS-limits create -f - <<E\napiVersion: v1\nkind: LimitRange\nmetadata: {name: small}\nspec: {limits: [{type: Container, max: {memory: 64Mi}, default: {memory: 32Mi}}]}\nE")
			a.soon("! kubectl -n $NS-limits create -f - <<E\napiVersion: v1\nkind: Pod\nmetadata: {name: big}\nspec: {containers: [{name: c, image: 'busybox:1', resources: {limits: {memory: 1Gi}}}]}\nE", `maximum memory usage per Container is 64Mi, but limit is 1Gi`)
			a.no("kubectl -n $NS-limits get pod big", `NotFound`)
			a.ok("kubectl delete namespace $NS-limits --wait=false")
		}},
		{"ports and addresses that are taken", func(a *actor) {
			port := map[string]string{"embedded": "31777", "separate": "31778"}[a.label]
			a.file("s.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: first-port}\nspec: {type: NodePort, ports: [{port: 80, nodePort: "+port+"}]}\n")
			a.ok("kubectl apply -f s.yaml", `service/first-port created`)
			a.code(1, "sed 's/first-port/second-port/' s.yaml | kubectl apply -f -", `spec.ports\[0\].nodePort: Invalid value: `+port+`: provided port is already allocated`)
			a.no("kubectl get service second-port", `NotFound`)
			a.code(1, "kubectl create service clusterip away --tcp=80 --clusterip=192.168.1.1", `spec.clusterIPs?.*(failed to allocate|not in the valid range|provided range)`)
			a.code(1, "kubectl create service clusterip taken --tcp=80 --clusterip=10.96.0.1", `spec.clusterIPs?.*already allocated`)
			a.ok("kubectl delete -f s.yaml && sed 's/first-port/second-port/' s.yaml | kubectl apply -f -", `service/second-port created`)
			a.ok("kubectl delete service second-port")
		}},
	}
}

// brokenPodScenes are pods that cannot run, and say why.
func brokenPodScenes() []scene {
	return []scene{
		{"an image that does not exist", func(a *actor) {
			a.apply("p", strayImage("unpulled", "registry.invalid/no/such:1", "IfNotPresent"))
			a.soon("kubectl get pod unpulled", `unpulled +0/1 +(ErrImagePull|ImagePullBackOff) `)
			a.soon("kubectl get pod unpulled", `unpulled +0/1 +ImagePullBackOff `)
			a.ok("kubectl get pod unpulled -o jsonpath='{.status.containerStatuses[0].state.waiting.message}'", `registry.invalid/no/such:1`)
			a.soon("kubectl describe pod unpulled", `Failed to pull image "registry.invalid/no/such:1": .*(?:no such host|lookup|dial|network|connect)`, `Warning +Failed .*Error: ErrImagePull`, `BackOff .*Back-off pulling image`)
			a.no("kubectl logs unpulled", `container "main" in pod "unpulled" is waiting to start: (trying and failing to pull image|image can't be pulled)`)
			a.ok("kubectl set image pod/unpulled main=busybox:1", `image updated`)
			a.soon("kubectl get pod unpulled", `^unpulled +1/1 +Running`)
			a.ok("kubectl delete pod unpulled --wait=false")
		}},
		{"an image that may not be pulled, and a name that is none", func(a *actor) {
			a.apply("p", strayImage("unfetched", "absent:1", "Never"))
			a.soon("kubectl get pod unfetched", `ErrImageNeverPull`)
			a.apply("q", strayImage("unnamed", "UPPER/Case:1", "IfNotPresent"))
			a.soon("kubectl get pod unnamed", `InvalidImageName`)
			a.soon("kubectl describe pod unnamed", `(?i)(couldn't|could not) parse image`)
			a.ok("kubectl delete pod unfetched unnamed --wait=false")
		}},
		{"a key that is missing, then there", func(a *actor) {
			a.ok("kubectl create configmap keyed --from-literal=other=1")
			a.apply("p", needsKey)
			a.soon("kubectl get pod needy", `needy +0/1 +CreateContainerConfigError`)
			a.soon("kubectl describe pod needy", `couldn't find key wanted in ConfigMap `+a.namespace()+`/keyed`)
			a.ok(`kubectl patch configmap keyed -p '{"data":{"wanted":"here"}}'`)
			a.soon("kubectl exec needy -- sh -c 'echo $WANTED'", `^here$`)
			a.ok("kubectl delete pod needy --wait=false")
		}},
		{"a volume's ConfigMap that is missing, then there", func(a *actor) {
			a.apply("p", needsVolume)
			a.soon("kubectl get pod mounting", `mounting +0/1 +ContainerCreating`)
			a.soon("kubectl describe pod mounting", `Warning +FailedMount .*configmaps? "late" not found`)
			a.ok("kubectl create configmap late --from-literal=k=v")
			a.soon("kubectl exec mounting -- cat /etc/late/k", `\Av\z`)
			a.ok("kubectl delete pod mounting --wait=false")
		}},
		{"a pod that fits nowhere", func(a *actor) {
			a.ok(`kubectl run vast --image=busybox:1 --overrides='{"spec":{"containers":[{"name":"vast","image":"busybox:1","resources":{"requests":{"cpu":"1000"}}}]}}'`, `pod/vast created`)
			a.soon("kubectl describe pod vast", `FailedScheduling .*0/3 nodes are available: .*3 Insufficient cpu`)
			a.ok("kubectl get pod vast", `^vast +0/1 +Pending`)
			a.ok("kubectl get pod vast -o jsonpath='{.status.conditions[?(@.type==\"PodScheduled\")].reason}'", `^Unschedulable$`)
			a.ok("kubectl delete pod vast --timeout=20s", `deleted`)
		}},
		{"a program that does not exist, and one that fails", func(a *actor) {
			a.apply("p", onFar("programless", `["/no/such/program"]`, "Never"))
			a.soon("kubectl describe pod programless", `(?i)/no/such/program.*no such file`)
			a.soon("kubectl get pod programless", `StartError|RunContainerError|ContainerCannotRun`)
			a.soon("kubectl get pod dier", `CrashLoopBackOff`)
			a.soon("kubectl get pod dier -o jsonpath='{.status.containerStatuses[0].lastState.terminated.exitCode} {.status.containerStatuses[0].lastState.terminated.reason}'", `^3 Error$`)
		}},
	}
}

func strayImage(name, image, policy string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: "` + image + `", imagePullPolicy: ` + policy + `, command: [sleep, "100000"]}]
`
}

const needsKey = `
apiVersion: v1
kind: Pod
metadata: {name: needy}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "busybox:1", command: [sleep, "100000"], env: [{name: WANTED, valueFrom: {configMapKeyRef: {name: keyed, key: wanted}}}]}
`

const needsVolume = `
apiVersion: v1
kind: Pod
metadata: {name: mounting}
spec:
  nodeSelector: {kubernetes.io/hostname: $FAR}
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "busybox:1", command: [sleep, "100000"], volumeMounts: [{name: late, mountPath: /etc/late}]}
  volumes: [{name: late, configMap: {name: late}}]
`
