{{/* Names. An argument that is a list begins with the root context. */}}

{{- define "crypto.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* (root, component): name of the component's objects. */}}
{{- define "crypto.name" -}}
{{- printf "%s-%s" (include "crypto.fullname" (first .)) (last .) }}
{{- end }}

{{/* The headless Service by which Envoy finds each gateway. */}}
{{- define "crypto.gateway.service" -}}
{{- include "crypto.name" (list . "gateway") }}
{{- end }}

{{- define "crypto.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "crypto.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* (root, component): what selects the component's pods; must never change, Deployments can not be told another. */}}
{{- define "crypto.selector" -}}
app.kubernetes.io/name: {{ (first .).Chart.Name }}
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{/* (root, component): the labels of the component's objects. */}}
{{- define "crypto.labels" -}}
{{- $root := first . -}}
{{ include "crypto.selector" . }}
app.kubernetes.io/part-of: crypto-streaming
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* (root, component, suffix of the name or ""): an object's metadata. */}}
{{- define "crypto.metadata" -}}
{{- $component := index . 1 -}}
name: {{ include "crypto.name" (list (first .) $component) }}{{ with index . 2 }}-{{ . }}{{ end }}
namespace: {{ (first .).Release.Namespace }}
labels:
  {{- include "crypto.labels" (list (first .) $component) | nindent 2 }}
{{- end }}

{{/* (root, image): its reference. No registry is named but the one of the values. */}}
{{- define "crypto.image" -}}
{{- $root := first . -}}
{{- $image := last . -}}
{{- with $root.Values.global.imageRegistry }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/*
(root, component, its `pod` values, user id): the part of a pod's spec that every pod has. Whatever runs here asks
Kubernetes for nothing, writes nowhere but in its volumes, and passes the "restricted" Pod Security Standard.
*/}}
{{- define "crypto.pod" -}}
{{- $root := first . -}}
{{- $pod := index . 2 -}}
serviceAccountName: {{ include "crypto.serviceAccountName" $root }}
automountServiceAccountToken: false
# Services would become environment variables such as GATEWAY_PORT.
enableServiceLinks: false
{{- with $root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- if $root.Values.podSecurity.fixedIds }}
  runAsUser: {{ index . 3 }}
  runAsGroup: {{ index . 3 }}
  fsGroup: {{ index . 3 }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: { type: RuntimeDefault }
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $tolerations := $pod.tolerations }}
{{- if not (has (index . 1) (list "nats" "postgres")) }}
{{- range $condition := list "not-ready" "unreachable" }}
{{- $tolerations = append $tolerations (dict "key" (printf "node.kubernetes.io/%s" $condition) "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" $root.Values.nodeLossSeconds) }}
{{- end }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* (root, component): a Deployment's pods keep apart where they can; each revision for itself, else an update piles up. */}}
{{- define "crypto.spread" -}}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "crypto.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}

{{/* (root, component, its `pod` values): metadata of a pod. */}}
{{- define "crypto.pod.metadata" -}}
{{- $pod := index . 2 -}}
labels:
  {{- /* Not the chart's version: a pod need not start anew for that. */}}
  {{- merge (include "crypto.selector" (list (first .) (index . 1)) | fromYaml) $pod.labels (first .).Values.commonLabels | toYaml | nindent 2 }}
{{- $annotations := $pod.annotations }}
{{- /* Of what was given, not of what was generated: that would be another one in each rendering, and never changes. */}}
{{- $servers := list (first .).Values.nats.url (first .).Values.postgres.url | join " " | trim }}
{{- if and $servers (has (index . 1) (list "gateway" "api" "worker")) }}
{{- $annotations = merge (dict "checksum/servers" (sha256sum $servers)) $annotations }}
{{- end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "crypto.container.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{/* The only place that a service may write to. */}}
{{- define "crypto.tmp.mount" -}}
- { name: tmp, mountPath: /tmp }
{{- end }}
{{- define "crypto.tmp.volume" -}}
- name: tmp
  emptyDir: { sizeLimit: 64Mi }
{{- end }}

{{/*
(list of seconds): a grace period that covers them, and a little for what nobody counted. What a pod is given before it
is killed is never written anywhere else.
*/}}
{{- define "crypto.grace" -}}
{{- $total := 5 -}}
{{- range . }}{{ $total = add $total . }}{{ end -}}
{{ $total }}
{{- end }}

{{/* Settings as environment variables. Helm reads whole numbers as floats, and would write 2e+09. */}}
{{- define "crypto.settings" -}}
{{- range $name, $value := . }}
- name: {{ $name }}
  value: {{ if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ $value | int64 | quote }}{{ else }}{{ $value | quote }}{{ end }}
{{- end }}
{{- end }}

{{/* (variable, secret's name, key) */}}
{{- define "crypto.env.secret" -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef: { name: {{ index . 1 }}, key: {{ index . 2 }} }
{{- end }}

{{/* (root, prefix): how a service reaches NATS, and what all that do so have to agree on. */}}
{{- define "crypto.env.nats" -}}
{{- $nats := (first .).Values.nats -}}
{{- $secret := $nats.existingSecret.name | default (include "crypto.name" (list (first .) "nats")) -}}
{{- $key := ternary $nats.existingSecret.key "url" (ne $nats.existingSecret.name "") -}}
{{ include "crypto.env.secret" (list (printf "%s_NATS_URL" (last .)) $secret $key) }}
- { name: {{ last . }}_NATS_NAMESPACE, value: {{ $nats.namespace | quote }} }
- { name: {{ last . }}_NATS_REPLICAS, value: {{ $nats.replicas | int64 | quote }} }
- { name: {{ last . }}_FRAMES_MAX_BYTES, value: {{ $nats.framesMaxBytes | int64 | quote }} }
{{- end }}

{{/* (root, prefix): how a service reaches PostgreSQL. */}}
{{- define "crypto.env.database" -}}
{{- $existing := (first .).Values.postgres.existingSecret -}}
{{- $secret := $existing.name | default (include "crypto.name" (list (first .) "postgres")) -}}
{{- include "crypto.env.secret" (list (printf "%s_DATABASE_URL" (last .)) $secret (ternary $existing.key "url" (ne $existing.name ""))) }}
{{- end }}

{{/* How migrations reach it: perhaps as a role that may do more. */}}
{{- define "crypto.env.migrations" -}}
{{- with .Values.migrations.existingSecret }}
{{- if .name }}
{{- include "crypto.env.secret" (list "API_DATABASE_URL" .name .key) }}
{{- else }}
{{- include "crypto.env.database" (list $ "API") }}
{{- end }}
{{- end }}
{{- end }}

{{/* Non-empty when the chart brings its own. */}}
{{- define "crypto.nats.bundled" -}}
{{- if not (or .Values.nats.url .Values.nats.existingSecret.name) }}true{{ end }}
{{- end }}
{{- define "crypto.postgres.bundled" -}}
{{- if not (or .Values.postgres.url .Values.postgres.existingSecret.name) }}true{{ end }}
{{- end }}

{{/* The names by which the API is called: Envoy passes on what the caller says. */}}
{{- define "crypto.api.hosts" -}}
{{- $envoy := include "crypto.name" (list . "envoy") -}}
{{- $inside := list "localhost" "127.0.0.1" $envoy -}}
{{- range $suffix := list "" ".svc" ".svc.cluster.local" }}
{{- $inside = append $inside (printf "%s.%s%s" $envoy $.Release.Namespace $suffix) }}
{{- end }}
{{- $outside := list }}
{{- if .Values.ingress.enabled }}{{ $outside = concat $outside .Values.ingress.hosts }}{{ end }}
{{- if .Values.gatewayApi.enabled }}{{ $outside = concat $outside .Values.gatewayApi.hostnames }}{{ end }}
{{- /* Django writes "every host below" with a leading dot. */}}
{{- $names := list }}
{{- range concat $inside .Values.api.allowedHosts $outside }}{{ $names = append $names (trimPrefix "*" .) }}{{ end }}
{{- $names | uniq | join "," }}
{{- end }}

{{/* The origins of pages that may use a session. */}}
{{- define "crypto.api.origins" -}}
{{- $origins := .Values.api.csrfTrustedOrigins }}
{{- if .Values.ingress.enabled }}{{ range .Values.ingress.hosts }}{{ $origins = append $origins (printf "https://%s" .) }}{{ end }}{{ end }}
{{- if .Values.gatewayApi.enabled }}{{ range .Values.gatewayApi.hostnames }}{{ $origins = append $origins (printf "https://%s" .) }}{{ end }}{{ end }}
{{- $origins | uniq | join "," }}
{{- end }}

{{/* (root, component): a PodDisruptionBudget, if the component wants one. */}}
{{- define "crypto.pdb" -}}
{{- $pdb := (index (first .).Values (last .)).pdb -}}
{{- if $pdb.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "crypto.metadata" (append . "") | nindent 2 }}
spec:
  # Not a minimum: with a single replica that would hold up every drain of its node.
  maxUnavailable: {{ $pdb.maxUnavailable }}
  # A pod that does not get ready protects nothing.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "crypto.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Duration of Envoy ("0.5s") in seconds. */}}
{{- define "crypto.seconds" -}}
{{- trimSuffix "s" . }}
{{- end }}
