"""English words that stay Latin in Japanese technical text, as they are read.

The dictionary of Open JTalk spells most of them letter by letter: Python took nine syllables.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from stt.tts.names import read_name

_READINGS = dict(
    pair.split("=")
    for pair in """
    actions=アクションズ add=アド admin=アドミン agent=エージェント alt=オルト amazon=アマゾン android=アンドロイド angular=アンギュラー answer=アンサー anthropic=アンソロピック
    apache=アパッチ app=アプリ append=アペンド apple=アップル apply=アプライ args=アーグス argument=アーギュメント array=アレイ assert=アサート async=エーシンク asyncio=エーシンクアイオー
    attribute=アトリビュート audio=オーディオ auth=オース await=アウェイト azure=アジュール backend=バックエンド bash=バッシュ batch=バッチ block=ブロック body=ボディ bool=ブール
    boolean=ブーリアン bot=ボット branch=ブランチ bug=バグ build=ビルド button=ボタン by=バイ byte=バイト cache=キャッシュ callback=コールバック cancel=キャンセル case=ケース catch=キャッチ
    chat=チャット chatgpt=チャットジーピーティー checkout=チェックアウト chrome=クローム class=クラス claude=クロード clear=クリア click=クリック client=クライアント clone=クローン
    close=クローズ cloud=クラウド cluster=クラスター cmd=コマンド code=コード collector=コレクター color=カラー command=コマンド comment=コメント commit=コミット compile=コンパイル
    component=コンポーネント conda=コンダ config=コンフィグ connection=コネクション console=コンソール const=コンスト constructor=コンストラクター container=コンテナ
    continue=コンティニュー control=コントロール controller=コントローラー convert=コンバート copilot=コパイロット copy=コピー core=コア count=カウント create=クリエイト ctrl=コントロール
    curl=カール cursor=カーソル data=データ database=データベース date=デート day=デイ debian=デビアン debug=デバッグ default=デフォルト delete=デリート deploy=デプロイ
    deployment=デプロイメント describe=ディスクライブ dev=デブ diff=ディフ directory=ディレクトリー disable=ディセーブル display=ディスプレー django=ジャンゴ docker=ドッカー docs=ドックス
    download=ダウンロード editor=エディター effect=エフェクト element=エレメント else=エルス email=イーメール empty=エンプティー enable=イネーブル encode=エンコード end=エンド
    endpoint=エンドポイント engine=エンジン enum=イーナム env=エンブ error=エラー esc=エスケープ event=イベント example=イグザンプル excel=エクセル exception=エクセプション
    execute=エクスキュート exit=エグジット export=エクスポート fail=フェイル fallback=フォールバック false=フォルス fatal=フェイタル feature=フィーチャー fetch=フェッチ field=フィールド
    file=ファイル filter=フィルター firebase=ファイアベース firefox=ファイアフォックス first=ファースト fix=フィックス flag=フラグ flask=フラスク float=フロート flow=フロー flush=フラッシュ
    folder=フォルダー foo=フー footer=フッター force=フォース form=フォーム format=フォーマット found=ファウンド frame=フレーム framework=フレームワーク frontend=フロントエンド
    function=ファンクション get=ゲット git=ギット github=ギットハブ gitlab=ギットラブ google=グーグル graphql=グラフキューエル grep=グレップ group=グループ handle=ハンドル handler=ハンドラー
    hash=ハッシュ head=ヘッド header=ヘッダー height=ハイト hello=ハロー helper=ヘルパー history=ヒストリー home=ホーム hook=フック host=ホスト hub=ハブ image=イメージ import=インポート
    index=インデックス init=イニット input=インプット insert=インサート install=インストール instance=インスタンス int=イント integer=インテジャー interface=インターフェース
    internal=インターナル invalid=インバリッド item=アイテム java=ジャバ javascript=ジャバスクリプト jenkins=ジェンキンス job=ジョブ john=ジョン join=ジョイン json=ジェイソン
    jupyter=ジュピター kafka=カフカ keras=ケラス key=キー keyboard=キーボード keyword=キーワード kotlin=コトリン kubernetes=クバネティス label=ラベル lambda=ラムダ last=ラスト
    latency=レイテンシー layer=レイヤー length=レングス let=レット license=ライセンス limit=リミット link=リンク linkedin=リンクトイン linux=リナックス list=リスト listener=リスナー
    load=ロード local=ローカル localhost=ローカルホスト lock=ロック log=ログ logger=ロガー logging=ロギング login=ログイン logout=ログアウト loop=ループ macbook=マックブック main=メイン
    manager=マネージャー map=マップ mary=メアリー master=マスター match=マッチ max=マックス menu=メニュー merge=マージ message=メッセージ method=メソッド microsoft=マイクロソフト
    migrate=マイグレート migration=マイグレーション min=ミン missing=ミッシング mock=モック mode=モード model=モデル module=モジュール mongodb=モンゴディービー mouse=マウス
    mysql=マイエスキューエル name=ネーム namespace=ネームスペース native=ネイティブ network=ネットワーク next=ネクスト nginx=エンジンエックス no=ノー node=ノード none=ナン not=ノット note=ノート
    notebook=ノートブック null=ヌル number=ナンバー numpy=ナンパイ object=オブジェクト offset=オフセット old=オールド open=オープン openai=オープンエーアイ opentelemetry=オープンテレメトリー
    option=オプション optional=オプショナル oracle=オラクル origin=オリジン output=アウトプット override=オーバーライド package=パッケージ page=ページ pandas=パンダス param=パラム
    parse=パース parser=パーサー password=パスワード patch=パッチ path=パス pattern=パターン paypal=ペイパル phone=フォン pip=ピップ pipe=パイプ pipeline=パイプライン
    platform=プラットフォーム plugin=プラグイン pod=ポッド pointer=ポインター pool=プール pop=ポップ port=ポート post=ポスト postgres=ポストグレス postgresql=ポストグレスキューエル
    preview=プレビュー primary=プライマリー print=プリント private=プライベート process=プロセス promise=プロミス prompt=プロンプト properties=プロパティーズ property=プロパティー
    props=プロップス protected=プロテクテッド provider=プロバイダー proxy=プロキシ pull=プル push=プッシュ put=プット pytest=パイテスト python=パイソン pytorch=パイトーチ query=クエリ
    question=クエスチョン queue=キュー rag=ラグ raise=レイズ ram=ラム range=レンジ rapid=ラピッド react=リアクト read=リード readme=リードミー ready=レディ rebase=リベース
    record=レコード redirect=リダイレクト redis=レディス reduce=リデュース refactor=リファクター reference=リファレンス regex=レジェックス register=レジスター reject=リジェクト
    release=リリース reload=リロード remote=リモート remove=リムーブ render=レンダー repo=レポ report=レポート repository=リポジトリー request=リクエスト reset=リセット
    resolve=リゾルブ resource=リソース response=レスポンス rest=レスト result=リザルト retries=リトライ retry=リトライ return=リターン review=レビュー role=ロール rollback=ロールバック
    root=ルート route=ルート router=ルーター row=ロウ ruby=ルビー run=ラン runtime=ランタイム rust=ラスト sample=サンプル save=セーブ schema=スキーマ scope=スコープ score=スコア
    screen=スクリーン script=スクリプト search=サーチ secret=シークレット select=セレクト send=センド server=サーバー service=サービス set=セット sharp=シャープ shell=シェル size=サイズ
    slack=スラック sleep=スリープ socket=ソケット sonnet=ソネット sort=ソート source=ソース split=スプリット sqlite=エスキューライト src=ソース stack=スタック start=スタート state=ステート
    static=スタティック status=ステータス stop=ストップ storage=ストレージ stream=ストリーム strict=ストリクト string=ストリング struct=ストラクト style=スタイル submit=サブミット
    subscribe=サブスクライブ sudo=スードゥー sum=サム summary=サマリー support=サポート switch=スイッチ sync=シンク syntax=シンタックス tab=タブ table=テーブル tag=タグ target=ターゲット
    task=タスク team=チーム teams=チームズ telemetry=テレメトリー template=テンプレート tensorflow=テンソルフロー terminal=ターミナル test=テスト text=テキスト thread=スレッド
    throw=スロー tiktok=ティックトック time=タイム timeout=タイムアウト tip=ティップ tips=ティップス title=タイトル tmp=テンプ todo=トゥードゥー toggle=トグル token=トークン tom=トム
    tool=ツール top=トップ train=トレイン transaction=トランザクション transform=トランスフォーム transformer=トランスフォーマー trigger=トリガー trim=トリム true=トゥルー tuple=タプル
    twitter=ツイッター type=タイプ typescript=タイプスクリプト ubuntu=ウブントゥ undefined=アンデファインド unicode=ユニコード uninstall=アンインストール unique=ユニーク unit=ユニット
    unknown=アンノウン update=アップデート upgrade=アップグレード upload=アップロード use=ユーズ user=ユーザー util=ユーティル valid=バリッド validate=バリデート validation=バリデーション
    validator=バリデーター value=バリュー variable=バリアブル variant=バリアント vector=ベクター venv=ブイエンブ vercel=バーセル version=バージョン video=ビデオ vim=ヴィム
    volume=ボリューム vs=バーサス vscode=ブイエスコード vue=ビュー wait=ウェイト warning=ワーニング web=ウェブ webhook=ウェブフック websocket=ウェブソケット weight=ウェイト
    whatsapp=ワッツアップ width=ウィズ window=ウィンドウ windows=ウィンドウズ word=ワード wordpress=ワードプレス worker=ワーカー workflow=ワークフロー workspace=ワークスペース
    world=ワールド wrapper=ラッパー write=ライト yaml=ヤムル yarn=ヤーン yes=イエス youtube=ユーチューブ
    """.split()
)
_WORD = re.compile(r"(?<![A-Za-z])(?:VS Code|[A-Za-z]{3,}|no|vs)(?![A-Za-z])")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_NAME = re.compile(r"[A-Z][a-z]{3,}")


def katakana(text: str, look_up: Callable[[str], str | None]) -> str:
    """`text` with known words and with names in katakana; of TypeError, each part. Others stay for the dictionary.

    `look_up` is that dictionary: how it reads a word, None if it would spell it. What it knows stays.
    """
    return _WORD.sub(lambda found: _read(found[0], look_up), text)


def _read(word: str, look_up: Callable[[str], str | None]) -> str:
    if reading := _reading(word.replace(" ", "")):
        return reading
    if _NAME.fullmatch(word):
        return word if look_up(word) else read_name(word) or word
    return _PART.sub(lambda part: _read_part(part[0], look_up), word)


def _read_part(part: str, look_up: Callable[[str], str | None]) -> str:
    reading = _reading(part)
    if reading is None and _NAME.fullmatch(part):
        reading = look_up(part) or read_name(part)
    return reading or part


def _reading(word: str) -> str | None:
    """A plural is read as its singular, as in Japanese."""
    word = word.lower()
    return _READINGS.get(word) or _READINGS.get(word.removesuffix("s"))
