"""What KubeRay 1.7 takes in a RayCluster and a RayJob, as a strict JSON schema; knows nothing of our files.

Its own fields, written down from the API (types and enumerations; alpha fields left out); everything of Kubernetes'
own, down to the last field of a pod, is kubernetes-validate's.
"""

import json
from importlib import resources

import jsonschema
import jsonschema.validators
from referencing import Registry, Resource

KUBERNETES = "1.33.0"
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
BOOLEAN, STRING, COUNT = {"type": "boolean"}, {"type": "string"}, {"type": "integer", "minimum": 0}


DEFINITIONS = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s."
METADATA = {"$ref": f"{DEFINITIONS}apimachinery.pkg.apis.meta.v1.ObjectMeta"}


def core(name):
    return {"$ref": f"{DEFINITIONS}api.core.v1.{name}"}


def strict(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def one_of(*values):
    return {"enum": list(values)}


CREDENTIAL = strict(value=STRING, valueFrom=core("EnvVarSource"))
CLUSTER = strict(
    required=["headGroupSpec"],
    rayVersion=STRING,
    suspend=BOOLEAN,
    managedBy=STRING,
    enableInTreeAutoscaling=BOOLEAN,
    headServiceAnnotations=STRINGS,
    upgradeStrategy=strict(type=one_of("Recreate", "None")),
    authOptions=strict(
        mode=one_of("disabled", "token"), secretName=STRING, enableK8sTokenAuth=BOOLEAN
    ),
    autoscalerOptions=strict(
        version=one_of("v1", "v2"),
        idleTimeoutSeconds=COUNT,
        upscalingMode=one_of("Default", "Aggressive", "Conservative"),
        image=STRING,
        imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
        resources=core("ResourceRequirements"),
        securityContext=core("SecurityContext"),
        env={"type": "array", "items": core("EnvVar")},
        envFrom={"type": "array", "items": core("EnvFromSource")},
        volumeMounts={"type": "array", "items": core("VolumeMount")},
    ),
    gcsFaultToleranceOptions=strict(
        redisAddress=STRING,
        redisUsername=CREDENTIAL,
        redisPassword=CREDENTIAL,
        externalStorageNamespace=STRING,
    ),
    headGroupSpec=strict(
        required=["template"],
        serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
        enableIngress=BOOLEAN,
        headService=core("Service"),
        rayStartParams=STRINGS,
        resources=STRINGS,
        labels=STRINGS,
        template=core("PodTemplateSpec"),
    ),
    workerGroupSpecs={
        "type": "array",
        "items": strict(
            required=["groupName", "minReplicas", "maxReplicas", "template"],
            groupName=STRING,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts=COUNT,
            idleTimeoutSeconds=COUNT,
            suspend=BOOLEAN,
            rayStartParams=STRINGS,
            resources=STRINGS,
            labels=STRINGS,
            template=core("PodTemplateSpec"),
        ),
    },
)
JOB = strict(
    entrypoint=STRING,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=STRING,
    runtimeEnvYAML=STRING,
    metadata=STRINGS,
    jobId=STRING,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterConfig=strict(backoffLimit=COUNT),
    submitterPodTemplate=core("PodTemplateSpec"),
    clusterSelector=STRINGS,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=BOOLEAN,
    ttlSecondsAfterFinished=COUNT,
    suspend=BOOLEAN,
    managedBy=STRING,
    rayClusterSpec=CLUSTER,
)
SPECS = {"RayCluster": CLUSTER, "RayJob": JOB}


def validate(manifest):
    """Raise jsonschema.ValidationError where KubeRay or Kubernetes would refuse or ignore a part."""
    folder = resources.files("kubernetes_validate") / "kubernetes-json-schema"
    text = (folder / f"v{KUBERNETES}-local-strict" / "_definitions.json").read_text()
    registry = Resource.from_contents(json.loads(text)) @ Registry()
    schema = strict(
        required=["apiVersion", "kind", "metadata", "spec"],
        apiVersion=one_of("ray.io/v1"),
        kind=one_of(manifest["kind"]),
        metadata=METADATA,
        spec=SPECS[manifest["kind"]],
    )
    jsonschema.validators.Draft202012Validator(schema, registry=registry).validate(manifest)
