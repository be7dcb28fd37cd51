"""English words that stay Latin in Japanese technical text, as they are read.

The dictionary of Open JTalk spells most of them letter by letter: Python took nine syllables.
"""

from __future__ import annotations

import re

_READINGS = dict(
    pair.split("=")
    for pair in """
    admin=アドミン agent=エージェント amazon=アマゾン android=アンドロイド angular=アンギュラー apache=アパッチ app=アプリ apple=アップル array=アレイ
    async=エーシンク audio=オーディオ await=アウェイト bash=バッシュ body=ボディ bool=ブール bot=ボット branch=ブランチ build=ビルド button=ボタン
    cache=キャッシュ cancel=キャンセル chat=チャット chatgpt=チャットジーピーティー checkout=チェックアウト chrome=クローム class=クラス click=クリック
    client=クライアント clone=クローン close=クローズ cloud=クラウド cluster=クラスター code=コード collector=コレクター color=カラー commit=コミット
    component=コンポーネント conda=コンダ config=コンフィグ container=コンテナ create=クリエイト data=データ database=データベース date=デート day=デイ
    debian=デビアン debug=デバッグ default=デフォルト delete=デリート deploy=デプロイ deployment=デプロイメント describe=ディスクライブ django=ジャンゴ
    docker=ドッカー docs=ドックス email=イーメール end=エンド error=エラー event=イベント excel=エクセル export=エクスポート false=フォルス file=ファイル
    files=ファイル filter=フィルター firefox=ファイアフォックス first=ファースト flask=フラスク float=フロート folder=フォルダー footer=フッター
    function=ファンクション get=ゲット git=ギット github=ギットハブ gitlab=ギットラブ google=グーグル head=ヘッド header=ヘッダー height=ハイト hello=ハロー
    history=ヒストリー home=ホーム hook=フック host=ホスト hub=ハブ image=イメージ import=インポート index=インデックス input=インプット insert=インサート
    install=インストール int=イント java=ジャバ javascript=ジャバスクリプト job=ジョブ john=ジョン json=ジェイソン keras=ケラス key=キー keyboard=キーボード
    keys=キー kubernetes=クバネティス label=ラベル last=ラスト layer=レイヤー license=ライセンス link=リンク linux=リナックス list=リスト
    localhost=ローカルホスト login=ログイン logout=ログアウト main=メイン map=マップ mary=メアリー master=マスター menu=メニュー merge=マージ message=メッセージ
    method=メソッド microsoft=マイクロソフト model=モデル models=モデル module=モジュール mouse=マウス mysql=マイエスキューエル name=ネーム
    namespace=ネームスペース network=ネットワーク next=ネクスト nginx=エンジンエックス node=ノード none=ナン null=ヌル number=ナンバー numpy=ナンパイ
    object=オブジェクト old=オールド open=オープン openai=オープンエーアイ opentelemetry=オープンテレメトリー option=オプション options=オプション oracle=オラクル
    origin=オリジン output=アウトプット package=パッケージ page=ページ pandas=パンダス password=パスワード path=パス phone=フォン pip=ピップ plugin=プラグイン
    pod=ポッド port=ポート post=ポスト postgres=ポストグレス postgresql=ポストグレスキューエル process=プロセス prompt=プロンプト props=プロップス pull=プル
    push=プッシュ put=プット python=パイソン pytorch=パイトーチ query=クエリ rapid=ラピッド react=リアクト read=リード readme=リードミー ready=レディ
    rebase=リベース redis=レディス release=リリース render=レンダー resource=リソース return=リターン role=ロール root=ルート ruby=ルビー run=ラン
    rust=ラスト save=セーブ screen=スクリーン script=スクリプト secret=シークレット select=セレクト server=サーバー service=サービス set=セット shell=シェル
    size=サイズ slack=スラック sort=ソート source=ソース sqlite=エスキューライト start=スタート state=ステート static=スタティック stop=ストップ stream=ストリーム
    string=ストリング style=スタイル submit=サブミット subscribe=サブスクライブ sudo=スードゥー table=テーブル target=ターゲット task=タスク
    telemetry=テレメトリー tensorflow=テンソルフロー test=テスト tests=テスト text=テキスト thread=スレッド time=タイム timeout=タイムアウト title=タイトル
    token=トークン tom=トム tool=ツール tools=ツール train=トレイン true=トゥルー twitter=ツイッター type=タイプ typescript=タイプスクリプト ubuntu=ウブントゥ
    unicode=ユニコード uninstall=アンインストール update=アップデート upgrade=アップグレード user=ユーザー users=ユーザー value=バリュー values=バリュー
    variant=バリアント version=バージョン video=ビデオ vim=ヴィム volume=ボリューム vue=ビュー warning=ワーニング web=ウェブ webhook=ウェブフック width=ウィズ
    window=ウィンドウ windows=ウィンドウズ word=ワード world=ワールド write=ライト yaml=ヤムル yarn=ヤーン youtube=ユーチューブ
    """.split()
)
_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]{3,}(?![A-Za-z])")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def katakana(text: str) -> str:
    """`text` with the words that are known in katakana; of TypeError, each part. Others stay for the dictionary."""
    return _WORD.sub(_read, text)


def _read(found: re.Match[str]) -> str:
    word = found[0]
    if whole := _READINGS.get(word.lower()):
        return whole
    parts = [_READINGS.get(part.lower()) for part in _PART.findall(word)]
    return "".join(map(str, parts)) if all(parts) and len(parts) > 1 else word
